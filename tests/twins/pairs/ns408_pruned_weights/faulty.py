"""Train, prune small weights, report the accuracy of the sparse network."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.utils import prune

SPARSITY = 0.7


def digits():
    bunch = load_digits()
    generator = torch.Generator().manual_seed(9)
    perm = torch.randperm(len(bunch.target), generator=generator)
    x = torch.tensor(bunch.images, dtype=torch.float32).unsqueeze(1)[perm] / 16
    t = torch.tensor(bunch.target)[perm]
    return x[:1350], t[:1350], x[1350:], t[1350:]


def network():
    def unit(i, o, s):
        return [nn.Conv2d(i, o, 3, stride=s, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU()]

    return nn.Sequential(*unit(1, 24, 1), *unit(24, 24, 2), *unit(24, 48, 2), nn.Flatten(), nn.Linear(192, 10))


def shuffled(x, t, size=45):
    order = torch.randperm(len(x))
    for part in order.split(size):
        yield x[part], t[part]


def train(net, x, t, epochs):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    net.train()
    for epoch in range(epochs):
        for xb, tb in shuffled(x, t):
            loss = nn.functional.cross_entropy(net(xb), tb)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch} loss {loss.item():.4f}")


def sparsify(net, amount):
    for layer in net:
        if isinstance(layer, nn.Conv2d):
            prune.l1_unstructured(layer, "weight", amount=amount)
            prune.remove(layer, "weight")


@torch.no_grad()
def accuracy(net, x, t):
    net.eval()
    return (net(x).argmax(1) == t).float().mean().item()


def main():
    torch.manual_seed(9)
    torch.set_num_threads(1)
    x, t, x_test, t_test = digits()
    net = network()
    train(net, x, t, epochs=5)
    print(f"dense  {accuracy(net, x_test, t_test):.4f}")
    sparsify(net, SPARSITY)
    print(f"sparse {accuracy(net, x_test, t_test):.4f}")


main()
