"""Activity from three accelerometer axes: a chain of strided 1-D blocks, built from a list of widths."""

from dataclasses import dataclass, field

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


@dataclass
class Options:
    widths: list = field(default_factory=lambda: [3, 16, 32, 48])
    zero_init_last: bool = True
    batch_size: int = 48
    epochs: int = 3
    lr: float = 0.05
    seed: int = 21


def signals(n):
    label = torch.randint(0, 4, (n,))
    t = torch.arange(64) / 8.0
    rate = 0.5 + 0.5 * label.float().view(-1, 1, 1)
    phase = 6.28 * torch.rand(n, 3, 1)
    return torch.sin(rate * t + phase) + 0.5 * torch.randn(n, 3, 64), label


def block(inside, outside, zero_init_last):
    layers = [
        nn.Conv1d(inside, outside, 3, padding=1, bias=False),
        nn.BatchNorm1d(outside),
        nn.ReLU(),
        nn.Conv1d(outside, outside, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm1d(outside),
    ]
    if zero_init_last:
        nn.init.zeros_(layers[-1].weight)
    return nn.Sequential(*layers, nn.ReLU())


def build(options):
    pairs = zip(options.widths, options.widths[1:])
    blocks = [block(a, b, options.zero_init_last) for a, b in pairs]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(options.widths[-1], 4))


def run(options):
    torch.manual_seed(options.seed)
    loader = DataLoader(TensorDataset(*signals(1536)), options.batch_size, shuffle=True, drop_last=True)
    x, y = signals(400)
    model = build(options)
    optimizer = torch.optim.SGD(model.parameters(), options.lr, momentum=0.9)
    for _ in range(options.epochs):
        model.train()
        for xb, yb in loader:
            loss = nn.functional.cross_entropy(model(xb), yb)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            print(f"{(model(x).argmax(1) == y).float().mean():.3f}")


torch.set_num_threads(1)
run(Options())
