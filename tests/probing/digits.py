"""Setups on scikit-learn's digits, faulty and healthy: files that `normscope probe` reads, and the same for tests."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import nn

TRAIN = 1280


def data():
    """Inputs between 0 and 1 and classes, in one fixed random order."""
    x, y = load_digits(return_X_y=True)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    return torch.tensor(x, dtype=torch.float32)[order] / 16, torch.tensor(y)[order]


def net(momentum=0.1, width=64):
    return nn.Sequential(
        nn.Linear(64, width, bias=False),
        nn.BatchNorm1d(width, momentum=momentum),
        nn.ReLU(),
        nn.Linear(width, width, bias=False),
        nn.BatchNorm1d(width, momentum=momentum),
        nn.ReLU(),
        nn.Linear(width, 10),
    )


def shuffled(x, y, size=32, seed=0):
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    return [(x[i], y[i]) for i in order.split(size)]


def grouped(x, y, size=32, classes=2, seed=0):
    """Each batch holds samples of `classes` classes only, always the same ones together."""
    generator = torch.Generator().manual_seed(seed)
    of = torch.arange(10).view(-1, classes)
    found = []
    for group in of:
        rows = torch.cat([torch.nonzero(y == c)[:, 0] for c in group])
        rows = rows[torch.randperm(len(rows), generator=generator)]
        found += [r for r in rows.split(size) if len(r) == size]
    order = torch.randperm(len(found), generator=generator)
    return [(x[found[i]], y[found[i]]) for i in order]


def trained(model, batches_of_epoch, epochs=15, lr=2e-3, steps=None):
    """Adam; `batches_of_epoch(seed)` gives those of one epoch."""
    optimizer = torch.optim.Adam(model.parameters(), lr)
    done = 0
    for epoch in range(epochs):
        for x, y in batches_of_epoch(epoch):
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            done += 1
            if done == steps:
                return model
    return model


def setup(compose=shuffled, seed=0, **other):
    torch.manual_seed(seed)
    x, y = data()
    model = trained(net(), lambda epoch: compose(x[:TRAIN], y[:TRAIN], seed=epoch))
    return {
        "model": model,
        "train": compose(x[:TRAIN], y[:TRAIN], seed=99),
        "held_out": shuffled(x[TRAIN:], y[TRAIN:]),
        "loss": nn.CrossEntropyLoss(),
    } | other


def leaking():
    """Batches of two classes: which two, their statistics tell."""
    return setup(grouped)


def mixed():
    """Its healthy twin."""
    return setup(shuffled)


def contrast(x, by=0.4):
    """Like fog: less contrast about a brighter middle."""
    return by * x + 0.6 * (1 - by)


def noisy(x, sd=0.25):
    return x + sd * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))


def shifted():
    """Other data of another contrast, and with noise."""
    x, y = data()
    x, y = x[TRAIN:], y[TRAIN:]
    return setup(
        domains={"fog": shuffled(contrast(x), y), "noise": shuffled(noisy(x), y)},
    )


def unshifted():
    """Its healthy twin: other data of the same kind."""
    x, y = data()
    return setup(domains={"more": shuffled(x[TRAIN:], y[TRAIN:], size=50, seed=5)})
