"""Evaluations on weights that are swapped in and out again."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from record.conftest import Observing
from record.loops import Net, batch, evaluate, sgd, train


@contextmanager
def swapped(model: nn.Module, values: list[torch.Tensor], *, how: str) -> Iterator[None]:
    own = [p.detach().clone() for p in model.parameters()]
    load(model, values, how)
    yield
    load(model, own, how)


def load(model: nn.Module, values: list[torch.Tensor], how: str) -> None:
    with torch.no_grad():
        for p, v in zip(model.parameters(), values, strict=True):
            match how:
                case "copy_":
                    p.copy_(v)
                case "data.copy_":
                    p.data.copy_(v)
                case _:
                    p.data = v.clone()


def shifted(model: nn.Module) -> list[torch.Tensor]:
    return [p.detach() + 0.1 for p in model.parameters()]


@pytest.mark.parametrize("how", ["copy_", "data.copy_", "data"])
@pytest.mark.parametrize("steps", [1, 30])
def test_swapped_weights_are_seen_and_kept(observed: Observing, how: str, steps: int) -> None:
    model = Net()
    optimizer = sgd(model)
    with observed() as seen:
        train(model, optimizer, 10)
        for _ in range(3):
            average = shifted(model)
            with swapped(model, average, how=how):
                evaluate(model, 2)
            train(model, optimizer, steps)
        root = seen.observer.registry.roots[0]
        state = seen.observer.stand_ins.of(root)
    assert seen.recording.models[0].stand_ins == 3
    assert state is not None
    assert torch.equal(state["head.weight"], average[-2])
    assert {"last.running_mean", "last.running_var"} <= set(state)


def test_the_last_evaluation_too(observed: Observing) -> None:
    model = Net()
    with observed() as seen:
        train(model, sgd(model), 10)
        with swapped(model, shifted(model), how="copy_"):
            evaluate(model, 1)
        assert seen.observer.stand_ins.of(seen.observer.registry.roots[0]) is not None


@pytest.mark.parametrize("first", ["raw", "average"])
def test_raw_weights_evaluated_beside_the_average(observed: Observing, first: str) -> None:
    model = Net()
    optimizer = sgd(model)
    with observed() as seen:
        train(model, optimizer, 10)
        if first == "raw":
            evaluate(model, 1)
        with swapped(model, shifted(model), how="copy_"):
            evaluate(model, 1)
        if first == "average":
            evaluate(model, 1)
        train(model, optimizer, 1)
    assert seen.recording.models[0].stand_ins == 1


def test_what_is_no_swap(observed: Observing) -> None:
    model = Net()
    optimizer = sgd(model)
    with observed() as seen:
        evaluate(model, 1)
        for _ in range(3):
            train(model, optimizer, 7)
            evaluate(model, 2)
        best = copy.deepcopy(model.state_dict())
        train(model, optimizer, 5)
        model.load_state_dict(best)
        evaluate(model, 1)
        root = seen.observer.registry.roots[0]
        assert seen.observer.stand_ins.of(root) is None
    assert seen.recording.models[0].stand_ins == 0


def test_parameters_of_a_model_too_large_are_not_kept(
    observed: Observing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("normscope.record.torch.stand_ins.MOST_BYTES", 100)
    model = Net()
    optimizer = sgd(model)
    with observed() as seen:
        train(model, optimizer, 10)
        with swapped(model, shifted(model), how="copy_"):
            evaluate(model, 1)
        train(model, optimizer, 1)
        assert seen.observer.stand_ins.of(seen.observer.registry.roots[0]) is None
    assert seen.recording.models[0].stand_ins == 1


def test_evaluations_do_not_end_a_counted_loop(observed: Observing) -> None:
    model = Net()
    optimizer = sgd(model)
    with observed(budget=0.0) as seen:
        for _ in range(4):
            train(model, optimizer, 40)
            model.eval()
            with torch.no_grad():
                model(batch()[0])
        assert seen.observer.routine.active
    assert seen.recording.steps == 160


def test_the_average_is_kept_however_little_may_be_spent(observed: Observing) -> None:
    model = Net()
    optimizer = sgd(model)
    with observed(budget=0.0) as seen:
        seen.observer.schedule.charge(1.0, measuring=True)  # an empty purse
        for _ in range(3):
            train(model, optimizer, 10)
            evaluate(model, 1)  # on the raw weights
            average = shifted(model)
            with swapped(model, average, how="copy_"):
                evaluate(model, 1)
        root = seen.observer.registry.roots[0]
        kept = seen.observer.stand_ins.of(root)
    assert kept is not None
    names = [n for n, _ in model.named_parameters()]
    assert all(torch.equal(kept[n], a) for n, a in zip(names, average, strict=True))
