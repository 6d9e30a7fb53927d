# Federated averaging: four hospitals train the same network on their own patients, a server averages.
import copy
import torch
from torch import nn
from sklearn.datasets import load_digits


def clients_of(x, y, n):
    return [(x[k::n], y[k::n]) for k in range(n)]


def local_training(model, x, y, epochs, lr):
    model.train()
    opt = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    for _ in range(epochs):
        for b in torch.randperm(len(x)).split(32)[:-1]:
            opt.zero_grad()
            nn.functional.cross_entropy(model(x[b]), y[b]).backward()
            opt.step()


def aggregate(server, clients):
    with torch.no_grad():
        for target, *sources in zip(server.parameters(), *(c.parameters() for c in clients)):
            target.copy_(torch.stack([s.data for s in sources]).mean(0))


def main():
    torch.manual_seed(3)
    torch.set_num_threads(1)
    x, y = load_digits(return_X_y=True)
    order = torch.randperm(len(x))
    x, y = torch.tensor(x, dtype=torch.float32)[order], torch.tensor(y)[order]
    x_test, y_test = x[1400:], y[1400:]
    data = clients_of(x[:1400], y[:1400], 4)
    server = nn.Sequential(
        nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10)
    )
    for rnd in range(6):
        clients = []
        for xs, ys in data:
            client = copy.deepcopy(server)
            local_training(client, xs, ys, epochs=2, lr=0.05)
            clients.append(client)
        aggregate(server, clients)
        server.eval()
        with torch.no_grad():
            score = (server(x_test).argmax(1) == y_test).float().mean()
        print(f"round {rnd} server accuracy {score:.3f}")


main()
