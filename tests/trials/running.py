"""Small training functions on generated data, run once under one arm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from normscope.trials.arms import arms_of
from normscope.trials.functions import run_once
from normscope.trials.results import Run

SAMPLES, FEATURES, BATCH = 72, 16, 8


def under(text: str, train: Callable[[], Any], *, seed: int = 0, steps: int | None = None) -> Run:
    """The function run once under the arm that is written so."""
    chosen = arms_of("lr:x1")[0] if text == "as-is" else arms_of(text)[-1]
    return run_once(train, chosen, seed, steps=steps)


def data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(SAMPLES, FEATURES, generator=generator)
    return x, (x[:, 0] > 0).long()


def loader(**words: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(*data()), batch_size=BATCH, shuffle=True, **words)


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(FEATURES, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))


def fit(model: nn.Module, optimizer: torch.optim.Optimizer, epochs: int = 1, **words: Any) -> float:
    """Train and return the last loss."""
    loss = torch.zeros(())
    for _ in range(epochs):
        for x, y in loader(**words):
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return loss.item()


def plain() -> float:
    torch.manual_seed(0)
    model = net()
    return fit(model, torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-2))
