"""Cultivars of wine, the whole table at once, LBFGS."""

import torch
from sklearn.datasets import load_wine
from torch import nn


class Cellar(nn.Module):
    def __init__(self, inputs, hidden=12):
        super().__init__()
        self.taste = nn.Linear(inputs, hidden)
        self.blend = nn.Linear(hidden, hidden)
        self.balance = nn.BatchNorm1d(hidden)
        self.label = nn.Linear(hidden, 3)

    def forward(self, x):
        h = self.taste(x).tanh()
        h = self.balance(self.blend(h)).tanh()
        return self.label(h)


def halves(n, generator):
    order = torch.randperm(n, generator=generator)
    return order[: n // 2], order[n // 2 :]


def fit(net, x, y, rounds):
    optimizer = torch.optim.LBFGS(net.parameters(), lr=0.1, max_iter=4, history_size=5)
    penalty = 1e-3

    def closure():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss = loss + penalty * sum(w.square().sum() for w in net.parameters() if w.ndim > 1)
        loss.backward()
        return loss

    net.train()
    for i in range(rounds):
        loss = optimizer.step(closure)
        if i % 10 == 9:
            print(f"round {i + 1}: {loss.item():.3f}")


def main():
    torch.set_num_threads(1)
    torch.manual_seed(44)
    wine = load_wine()
    x, y = torch.tensor(wine.data, dtype=torch.float32), torch.tensor(wine.target)
    train, test = halves(len(x), torch.Generator().manual_seed(44))
    net = Cellar(x.shape[1])
    fit(net, x[train], y[train], rounds=40)
    net.eval()
    with torch.no_grad():
        print(f"test accuracy {(net(x[test]).argmax(1) == y[test]).float().mean().item():.3f}")


main()
