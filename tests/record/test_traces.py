"""Modules traced by TorchScript: a call of the trace is a forward of its model, in the mode in which it was traced."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from record.conftest import Observing

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv1d(2, 6, 3), nn.BatchNorm1d(6), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3)
    )


def train(model: nn.Module, steps: int = 3) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(torch.randn(16, 2, 8)), torch.randint(0, 3, (16,))).backward()
        optimizer.step()


@pytest.mark.parametrize("training", [True, False])
def test_a_trace_keeps_the_mode_of_its_making(observed: Observing, training: bool) -> None:
    with observed() as run:
        model = net()
        train(model)
        model.train(training)
        trace = torch.jit.trace(model, torch.randn(4, 2, 8), check_trace=False)
        model.train(not training)  # too late for the trace
        with torch.no_grad():
            for _ in range(5):
                trace(torch.randn(7, 2, 8)).argmax(1)
    recording = run.recording
    assert len(recording.models) == 1
    (span,) = (s for s in recording.spans if s.kind == "inference")
    pattern = recording.patterns[span.pattern]
    (call,) = pattern.calls
    assert (span.forwards, span.scored) == (5, 5)
    assert pattern.training is training
    assert (call.batch_stats, call.updates, call.samples, call.values) == (
        training,
        training,
        7,
        42,
    )
    assert [e.detail for e in recording.events_of("traced")] == ["in training mode"] * training


def test_a_traced_function_or_a_model_without_batch_norm_tells_nothing(observed: Observing) -> None:
    with observed() as run:
        model = nn.Linear(2, 2)
        torch.jit.trace(torch.sigmoid, torch.randn(3))
        trace = torch.jit.trace(model, torch.randn(3, 2))
        assert trace(torch.randn(5, 2)).shape == (5, 2)
    assert run.recording.events_of("traced") == []
