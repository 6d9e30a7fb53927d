"""A loop that repeats itself is counted instead of recorded: the recording must not tell the difference."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from normscope.record.torch.batches import FEW
from normscope.record.torch.routine import Routine
from record.conftest import Observed, Observing
from record.loops import Net, batch, evaluate, sgd, single, told, train


def steady_with_evaluations() -> None:
    net = Net()
    optimizer = sgd(net)
    for _ in range(3):
        train(net, optimizer, 12)
        evaluate(net, 2)


def ragged_batches() -> None:
    net = Net()
    optimizer = sgd(net)
    for i in range(30):
        train(net, optimizer, 1, 5 if i % 10 == 9 else 16)


def evaluation_in_training_mode_with_gradients() -> None:
    net = Net()
    optimizer = sgd(net)
    for _ in range(3):
        train(net, optimizer, 12)
        for _ in range(3):
            net(batch()[0])


def evaluation_on_the_line_of_training() -> None:
    net = Net()
    optimizer = sgd(net)

    def logits() -> torch.Tensor:
        return net(batch()[0])

    for i in range(40):
        out = logits()
        if i % 13 != 12:
            optimizer.zero_grad()
            F.cross_entropy(out, torch.zeros(16, dtype=torch.long)).backward()
            optimizer.step()


def evaluation_mode_that_stays() -> None:
    net = Net()
    optimizer = sgd(net)
    train(net, optimizer, 15)
    net.eval()
    for i in range(30):
        x, y = batch()
        out = net(x)
        if i % 10 == 9:
            continue
        F.cross_entropy(out, y).backward()
        optimizer.step()


def one_layer_in_evaluation_mode() -> None:
    net = Net()
    optimizer = sgd(net)
    for i in range(30):
        x, y = batch()
        if i == 15:
            net.last.eval()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()


def another_momentum_from_the_middle() -> None:
    net = Net()
    optimizer = sgd(net)
    train(net, optimizer, 15)
    net.last.momentum = 0.05
    train(net, optimizer, 15)


def a_scale_that_is_frozen_in_the_middle() -> None:
    net = Net()
    optimizer = sgd(net)
    train(net, optimizer, 15)
    net.last.weight.requires_grad_(False)
    train(net, optimizer, 15)


def batches_that_take_turns() -> None:
    net = Net()
    optimizer = sgd(net)
    batches = [batch() for _ in range(3)]
    for i in range(30):
        x, y = batches[i % 3]
        F.cross_entropy(net(x), y).backward()
        optimizer.step()


def sizes_that_grow() -> None:
    net = Net()
    optimizer = sgd(net)
    for size in (8, 16, 32):
        train(net, optimizer, 15, size)


def accumulation_from_the_middle() -> None:
    net = Net()
    optimizer = sgd(net)
    for i in range(40):
        x, y = batch()
        F.cross_entropy(net(x), y).backward()
        if i < 15 or i % 3 == 0:
            optimizer.step()
            optimizer.zero_grad()


def two_backwards_for_one_forward() -> None:
    net = Net()
    optimizer = sgd(net)
    for i in range(30):
        x, y = batch()
        loss = F.cross_entropy(net(x), y)
        loss.backward(retain_graph=i > 15)
        if i > 15:
            loss.backward()
        optimizer.step()


def steps_that_are_left_out() -> None:
    net = Net()
    optimizer = sgd(net)
    for i in range(30):
        x, y = batch()
        F.cross_entropy(net(x), y).backward()
        if i % 7 != 6:
            optimizer.step()


def overflows() -> None:
    net = single()
    optimizer = sgd(net)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    for i in range(30):
        x, y = batch()
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y) * (float("inf") if i % 11 == 10 else 1.0)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()


def exceptions_in_the_model() -> None:
    class Picky(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.head = nn.BatchNorm1d(4), nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if bool((x[0] == 0).all()):
                raise LookupError
            return self.head(self.norm(x))

    net = Picky()
    optimizer = sgd(net)
    for i in range(30):
        x, y = batch()
        if i % 9 == 8:
            x.zero_()
        with suppress(LookupError):
            F.cross_entropy(net(x), y).backward()
            optimizer.step()


def a_single_value_at_the_end() -> None:
    net = Net()
    optimizer = sgd(net)
    train(net, optimizer, 20)
    with suppress(ValueError):
        train(net, optimizer, 1, 1)


def the_same_batch_all_the_time() -> None:
    net = Net()
    optimizer = sgd(net)
    x, y = batch()
    for i in range(30):
        F.cross_entropy(net(x if i % 8 else x.clone()), y).backward()
        optimizer.step()


def a_copy_is_evaluated() -> None:
    net = Net()
    optimizer = sgd(net)
    train(net, optimizer, 15)
    average = copy.deepcopy(net)
    for _ in range(3):
        train(net, optimizer, 6)
        evaluate(average, 2)


def another_model_is_trained_by_turns() -> None:
    net, other = Net(), single()
    optimizers = sgd(net), sgd(other)
    train(net, optimizers[0], 15)
    for _ in range(10):
        train(other, optimizers[1], 1)
        train(net, optimizers[0], 1)


def updates_by_hand_from_the_middle() -> None:
    net = Net()
    optimizer = sgd(net)
    train(net, optimizer, 15)
    for _ in range(10):
        x, y = batch()
        net.zero_grad()
        F.cross_entropy(net(x), y).backward()
        with torch.no_grad():
            for p in net.parameters():
                p -= 0.05 * p.grad


def ends_in_an_unused_forward() -> None:
    net = Net()
    optimizer = sgd(net)
    for i in range(20):
        x, y = batch()
        loss = F.cross_entropy(net(x), y)
        if i < 19:
            loss.backward()
            optimizer.step()


SCRIPTS: list[Callable[[], None]] = [
    steady_with_evaluations,
    ragged_batches,
    evaluation_in_training_mode_with_gradients,
    evaluation_on_the_line_of_training,
    evaluation_mode_that_stays,
    one_layer_in_evaluation_mode,
    another_momentum_from_the_middle,
    a_scale_that_is_frozen_in_the_middle,
    batches_that_take_turns,
    sizes_that_grow,
    accumulation_from_the_middle,
    two_backwards_for_one_forward,
    steps_that_are_left_out,
    overflows,
    exceptions_in_the_model,
    a_single_value_at_the_end,
    the_same_batch_all_the_time,
    a_copy_is_evaluated,
    another_model_is_trained_by_turns,
    updates_by_hand_from_the_middle,
    ends_in_an_unused_forward,
]


def noting(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that gets an entry for each step that is counted."""
    counted: list[int] = []
    settle = Routine.settle

    def noted(self: Routine) -> None:
        counted.extend([1] * self.observer.counted)
        settle(self)

    monkeypatch.setattr(Routine, "settle", noted)
    return counted


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda s: s.__name__)
def test_counted_or_recorded(
    observed: Observing, monkeypatch: pytest.MonkeyPatch, script: Callable[[], None]
) -> None:
    torch.manual_seed(3)
    with observed(keep_bytes=0) as run:
        script()
    recorded = told(run.recording)

    counted = noting(monkeypatch)
    torch.manual_seed(3)
    with observed(budget=0.0, keep_bytes=0) as run:
        run.observer.schedule.charge(1.0, measuring=True)  # an empty purse
        script()
    assert len(counted) >= 4  # a step that is left out ends each run of seven forwards
    now = told(run.recording)
    for name, wanted in recorded.items():
        assert now[name] == wanted, name


def copied(run: Observed) -> dict[str, Any]:
    """By the input of each batch that is kept: of which model, and what its output met."""
    return {
        str(b.args[0].tolist()): (n, b.loss, b.direct, b.output, str(b.target))
        for n, kept in run.observer.kept.batches.items()
        for b in kept
    }


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda s: s.__name__)
def test_the_same_batches_are_kept_of_counted_steps(
    observed: Observing, monkeypatch: pytest.MonkeyPatch, script: Callable[[], None]
) -> None:
    """But for one where a step is left out or a forward raises: whose turn it is differs then."""
    torch.manual_seed(3)
    with observed() as run:
        script()
    recorded = copied(run)

    counted = noting(monkeypatch)
    torch.manual_seed(3)
    with observed(budget=0.0) as run:
        run.observer.schedule.charge(1.0, measuring=True)
        script()
    assert len(counted) >= 4
    found = copied(run)
    same = found.keys() & recorded.keys()
    assert len(same) >= min(len(recorded), FEW) - 4
    assert {k: found[k] for k in same} == {k: recorded[k] for k in same}


@pytest.mark.parametrize(
    ("script", "least"),
    [
        # Of 30 steps and of 45, all but the first ones, and a few after each change.
        (batches_that_take_turns, 20),
        (another_momentum_from_the_middle, 18),
        (a_scale_that_is_frozen_in_the_middle, 18),
        (sizes_that_grow, 25),
        (one_layer_in_evaluation_mode, 18),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_a_changed_loop_is_learned_anew(
    observed: Observing, monkeypatch: pytest.MonkeyPatch, script: Callable[[], None], least: int
) -> None:
    counted = noting(monkeypatch)
    with observed(budget=0.0, keep_bytes=0) as run:
        run.observer.schedule.charge(1.0, measuring=True)
        script()
    assert len(counted) >= least
