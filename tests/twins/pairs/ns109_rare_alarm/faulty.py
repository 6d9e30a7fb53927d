"""Rare alarms in a table: one answer in twelve is yes. Everything is written as small functions around nn.Sequential."""
import torch
from torch import nn


def table(n, generator):
    x = torch.randn(n, 12, generator=generator)
    score = x[:, 0] * x[:, 1] + x[:, 2] - 0.5 * x[:, 3].square() + 0.2 * torch.randn(n, generator=generator)
    return x, (score > 1.35).float()[:, None]


def network():
    return nn.Sequential(
        nn.Linear(12, 64), nn.BatchNorm1d(64), nn.ReLU(),
        nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(),
        nn.Linear(32, 1), nn.BatchNorm1d(1, affine=False),
    )


def fit(net, x, y, epochs=12, size=50):
    loss_of = nn.BCEWithLogitsLoss()
    optimizer = torch.optim.Adam(net.parameters(), 5e-3)
    for epoch in range(epochs):
        net.train()
        for i in torch.randperm(len(x)).split(size):
            loss = loss_of(net(x[i]), y[i])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            print(epoch, round(loss.item(), 3), round(loss_of(net(x[:500]), y[:500]).item(), 3))


@torch.no_grad()
def accuracy(net, x, y):
    net.eval()
    return ((net(x) > 0).float() == y).float().mean().item()


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    net = network()
    fit(net, *table(2000, generator))
    print("test accuracy", accuracy(net, *table(1000, generator)))
