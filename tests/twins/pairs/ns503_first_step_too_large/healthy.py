"""Ripples on a line: which of five patterns, by a plain residual-free 1-D network."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn


def signals(n, seed):
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 1, 64)
    kind = rng.integers(0, 5, n)
    phase = rng.uniform(0, 2 * np.pi, n)
    wave = np.sin(2 * np.pi * (2 + 2 * kind[:, None]) * t + phase[:, None])
    x = wave * rng.uniform(0.5, 1.5, (n, 1)) + 0.4 * rng.standard_normal((n, 64))
    return torch.tensor(x[:, None], dtype=torch.float32), torch.tensor(kind)


def network(widths=(16, 24, 24)):
    layers, last = [], 1
    for width in widths:
        layers += [nn.Conv1d(last, width, 7, stride=2, padding=3), nn.BatchNorm1d(width), nn.ReLU()]
        last = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(last, 5))


def trainer(model, rate: Callable[[int], float]):
    """A closure that takes one step; `rate` gives the learning rate."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9)
    taken = 0

    def step(x, y):
        nonlocal taken
        for group in optimizer.param_groups:
            group["lr"] = rate(taken)
        taken += 1
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def schedule(step, peak=0.05, warm=20, total=160):
    up = (step + 1) / warm if step < warm else 1.0
    return peak * up * (1 - step / (total + 1))


if __name__ == "__main__":
    torch.manual_seed(2)
    torch.set_num_threads(1)
    x, y = signals(1280, 2)
    x_test, y_test = signals(400, 3)
    model = network()
    step = trainer(model, schedule)
    for epoch in range(4):
        model.train()
        losses = [step(x[i], y[i]) for i in torch.randperm(1280).split(32)]
        model.eval()
        with torch.no_grad():
            score = (model(x_test).argmax(1) == y_test).float().mean().item()
        print(epoch, round(float(np.mean(losses)), 3), round(score, 3))
