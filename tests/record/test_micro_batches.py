"""Gradients accumulated over micro-batches: which of them are kept, and what is told of their backwards."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from record.conftest import Observed, Observing
from record.loops import Net, only_span, sgd


def accumulate(steps: int, micros: int, *, one_backward: bool = False) -> None:
    """Micro-batch k of a step holds the number k, wherever it stands in the run."""
    net = Net()
    optimizer = sgd(net)
    for _ in range(steps):
        optimizer.zero_grad()
        total = torch.zeros(())
        for k in range(micros):
            loss = F.cross_entropy(net(torch.randn(8, 4) * 1e-3 + k), torch.arange(8) % 3)
            if one_backward:
                total = total + loss
            else:
                loss.backward()
        if one_backward:
            total.backward()
        optimizer.step()


def places(run: Observed) -> list[int]:
    return [round(b.args[0].mean().item()) for b in run.observer.kept.batches[0]]


def test_each_place_has_its_turn(observed: Observing) -> None:
    with observed() as run:
        accumulate(7, 3)
    assert places(run) == [0, 1, 2, 0, 1, 2, 0]


def test_forwards_with_one_backward_are_not_micro_batches(observed: Observing) -> None:
    with observed() as run:
        accumulate(4, 3, one_backward=True)
    assert only_span(run.recording, "training").joined == 8


def test_micro_batches_run_back_one_by_one(observed: Observing) -> None:
    with observed() as run:
        accumulate(4, 3)
    span = only_span(run.recording, "training")
    assert (span.forwards, span.steps, span.joined) == (12, 4, 0)


def test_one_forward_a_step(observed: Observing) -> None:
    with observed() as run:
        accumulate(12, 1)
    assert len(places(run)) == 12
    assert only_span(run.recording, "training").joined == 0
