"""Models whose class gives `parameters()` and its like another meaning."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from record.conftest import Observing
from record.loops import Net, batch


class Learner(nn.Module):
    """As public code for meta-learning has it: `parameters()` is the list itself, which is no iterator."""

    def __init__(self) -> None:
        super().__init__()
        shapes = ((8, 4), (8,), (8,), (3, 8))
        self.vars = nn.ParameterList([nn.Parameter(torch.rand(s)) for s in shapes])
        self.mean, self.var = nn.Buffer(torch.zeros(8)), nn.Buffer(torch.ones(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, scale, shift, last = self.vars
        x = F.batch_norm(F.linear(x, first), self.mean, self.var, scale, shift, self.training)
        return F.linear(F.relu(x), last)

    def parameters(self, recurse: bool = True) -> Any:
        return self.vars


class WithArguments(Net):
    def parameters(self, group: str) -> Iterator[nn.Parameter]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return (p for n, p in self.named_parameters() if n.startswith(group))


class Agent(Net):
    """Names of PyTorch's that hold something of the user's."""

    def __init__(self) -> None:
        super().__init__()
        self.buffers: Any = deque([0], maxlen=10)
        self.modules: Any = ["body", "last", "head"]
        self.children: Any = None


class Telling(Net):
    """Whoever asks for its parameters is heard of."""

    asked = 0

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        Telling.asked += 1
        return super().parameters(recurse)


class Forwarding(Net):
    """Whoever asks for what it does not have is heard of."""

    asked: ClassVar[list[str]] = []

    def __getattr__(self, name: str) -> Any:
        if name not in (*self._modules, *self._parameters, *self._buffers):
            Forwarding.asked.append(name)
        return super().__getattr__(name)


def _parameters(model: nn.Module) -> list[nn.Parameter]:
    return [p for _, p in nn.Module.named_parameters(model)]


@pytest.mark.parametrize("make", [Learner, WithArguments, Agent])
def test_they_are_observed_as_others_are(observed: Observing, make: type[nn.Module]) -> None:
    with observed() as run:
        model = make()
        optimizer = torch.optim.SGD(_parameters(model), lr=0.05)
        for _ in range(3):
            x, y = batch()
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    assert run.recording.steps == 3
    [record] = run.recording.models.values()
    assert record.norm_layers == (1 if make is Learner else 2)


def test_nothing_of_the_users_runs_by_asking(observed: Observing) -> None:
    Telling.asked = 0
    with observed():
        model = Telling()
        optimizer = torch.optim.SGD(_parameters(model), lr=0.05)
        for _ in range(3):
            x, y = batch()
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    assert Telling.asked == 0


def test_nothing_is_asked_for_that_a_model_does_not_have(observed: Observing) -> None:
    with observed():
        model = Forwarding()
        model(batch()[0]).sum().backward()
    assert Forwarding.asked == []
