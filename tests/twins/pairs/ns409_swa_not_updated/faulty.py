"""Train a signal classifier and finish with stochastic weight averaging."""
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn, optim
from torch.optim.swa_utils import SWALR, AveragedModel
from torch.utils.data import DataLoader, TensorDataset

cfg = SimpleNamespace(epochs=14, swa_start=6, lr=0.1, swa_lr=0.1, batch=50, seed=7)


def make_signals(n, rng):
    """Four kinds of wave under noise, with an offset of the sensor."""
    t = np.linspace(0, 1, 64)
    label = rng.integers(0, 4, n)
    f = rng.uniform(3, 6, n)[:, None]
    phase = rng.uniform(0, 2 * np.pi, n)[:, None]
    a = np.sin(2 * np.pi * f * t + phase)
    shapes = np.stack([a, np.sign(a), np.abs(a) * 2 - 1, a**3 * 1.5])
    x = shapes[label, np.arange(n)] + 0.3 * rng.normal(size=(n, 64)) + 2.0
    return torch.tensor(x[:, None], dtype=torch.float32), torch.tensor(label)


def build():
    def block(i, o):
        return [nn.Conv1d(i, o, 5, padding=2), nn.BatchNorm1d(o), nn.ReLU(), nn.MaxPool1d(2)]

    return nn.Sequential(*block(1, 16), *block(16, 24), *block(24, 32), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(32, 4))


@torch.no_grad()
def test(net, loader):
    net.eval()
    right = sum((net(x).argmax(1) == y).sum().item() for x, y in loader)
    return right / len(loader.dataset)


def main():
    torch.manual_seed(cfg.seed)
    torch.set_num_threads(1)
    rng = np.random.default_rng(cfg.seed)
    train = DataLoader(TensorDataset(*make_signals(1000, rng)), cfg.batch, shuffle=True)
    held_out = DataLoader(TensorDataset(*make_signals(500, rng)), 250)
    net = build()
    averaged = AveragedModel(net)
    optimizer = optim.SGD(net.parameters(), lr=cfg.lr, momentum=0.9)
    schedule = SWALR(optimizer, swa_lr=cfg.swa_lr, anneal_epochs=2)
    for epoch in range(cfg.epochs):
        net.train()
        for x, y in train:
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()
        if epoch >= cfg.swa_start:
            averaged.update_parameters(net)
            schedule.step()
    print(f"last weights {test(net, held_out):.3f}")
    print(f"averaged weights {test(averaged, held_out):.3f}")


if __name__ == "__main__":
    main()
