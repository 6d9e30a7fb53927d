"""Steps: a change of trainable parameters after a training forward, whoever makes it, counted once."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from normscope.diagnosis import coverage
from record.conftest import Observing
from record.loops import Net, batch, evaluate, only_span, sgd, single, spans, train


class Sharpness(torch.optim.Optimizer):
    """Sharpness-aware minimization around another optimizer, with a closure."""

    def __init__(self, parameters: list[nn.Parameter], base: torch.optim.Optimizer) -> None:
        super().__init__(parameters, {})
        self.base = base

    def step(self, closure):  # type: ignore[override]
        weights = self.param_groups[0]["params"]
        with torch.no_grad():
            moves = [0.05 * w.grad for w in weights]
            for w, move in zip(weights, moves, strict=True):
                w.add_(move)
        with torch.enable_grad():
            closure()
        with torch.no_grad():
            for w, move in zip(weights, moves, strict=True):
                w.sub_(move)
        self.base.step()


def test_equal_data_under_another_tensor_is_the_same_input(observed: Observing) -> None:
    with observed() as run:
        net = single()
        optimizer = sgd(net)
        for _ in range(4):
            x, y = batch()
            for _ in range(2):
                F.cross_entropy(net(x.clone()), y).backward()
            optimizer.step()
    # The first pair tells that a step has several forwards; from then on contents are compared.
    assert only_span(run.recording, "training").same_input >= 3


def test_gradient_accumulation(observed: Observing) -> None:
    with observed() as run:
        net = single()
        optimizer = sgd(net)
        for i in range(12):
            x, y = batch(4)
            F.cross_entropy(net(x), y).div(3).backward()
            if i % 3 == 2:
                optimizer.step()
                optimizer.zero_grad()
    r = run.recording
    training = only_span(r, "training")
    assert (r.steps, training.forwards, training.steps, training.same_input) == (4, 12, 4, 0)
    assert (training.first_step, training.last_step) == (0, 3)
    assert r.layers[0].updates == 12


@pytest.mark.parametrize("way", ["in place", "data"])
def test_hand_written_updates(observed: Observing, way: str) -> None:
    with observed() as run:
        net = single()
        for _ in range(5):
            x, y = batch()
            F.cross_entropy(net(x), y).backward()
            for p in net.parameters():
                if way == "in place":
                    with torch.no_grad():
                        p -= 0.1 * p.grad
                else:
                    p.data = p.data - 0.1 * p.grad
                p.grad = None
        evaluate(net, 2)
    r = run.recording
    assert r.steps == 5
    assert r.optimizers == ["hand-written"]
    assert r.models[0].optimized
    assert r.models[0].parameters_changed
    assert only_span(r, "training").forwards == 5
    assert only_span(r, "inference").first_step == 5


def test_gradients_that_nobody_applies_are_no_step(observed: Observing) -> None:
    with observed() as run:
        net = single()
        for _ in range(3):
            x, y = batch()
            F.cross_entropy(net(x), y).backward()
    r = run.recording
    assert (r.steps, r.optimizers) == (0, [])
    assert only_span(r, "training").forwards == 3
    assert not r.models[0].optimized
    assert not r.models[0].parameters_changed


def test_a_step_without_a_training_forward_does_not_count(observed: Observing) -> None:
    with observed() as run:
        net = single()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, weight_decay=0.1)
        train(net, optimizer, 2)
        for _ in range(3):
            optimizer.step()
        train(net, optimizer, 1)
    assert run.recording.steps == 3


def test_gradients_without_backward(observed: Observing) -> None:
    with observed() as run:
        net = single()
        optimizer = sgd(net)
        for _ in range(3):
            x, y = batch()
            weights = list(net.parameters())
            gradients = torch.autograd.grad(F.cross_entropy(net(x), y), weights)
            for w, g in zip(weights, gradients, strict=True):
                w.grad = g
            optimizer.step()
    assert run.recording.steps == 3
    assert only_span(run.recording, "training").forwards == 3


def test_lent_parameters(observed: Observing) -> None:
    with observed() as run:
        net = single()
        buffers = dict(net.named_buffers())
        weights = {k: v.detach().clone().requires_grad_() for k, v in net.named_parameters()}
        for _ in range(6):
            x, y = batch()
            out = torch.func.functional_call(net, (weights, buffers), (x,))
            gradients = torch.autograd.grad(F.cross_entropy(out, y), list(weights.values()))
            weights = {
                k: (w - 0.1 * g).detach().requires_grad_()
                for (k, w), g in zip(weights.items(), gradients, strict=True)
            }
    r = run.recording
    assert "functional" in r.optimizers
    # That tensors are lent shows when they are gone for the second time.
    assert 3 <= r.steps <= 6
    assert sum(s.forwards for s in spans(r, "training")) == 6
    assert r.models[0].parameters_changed


def test_a_step_that_raised_does_not_stay_open(observed: Observing) -> None:
    class Failing(torch.optim.SGD):
        def step(self, closure=None):  # type: ignore[override]
            if fail:
                raise RuntimeError("no step")
            return super().step(closure)

    with observed() as run:
        net = single()
        optimizer = Failing(net.parameters(), lr=0.1)
        for fail in (True, False, False):
            x, y = batch()
            F.cross_entropy(net(x), y).backward()
            try:
                optimizer.step()
            except RuntimeError:
                assert fail
    assert run.recording.steps == 2


def test_a_step_that_raised_does_not_hide_those_of_another_optimizer(observed: Observing) -> None:
    def closure() -> torch.Tensor:
        raise ValueError("no loss")

    with observed() as run:
        net = Net()
        with pytest.raises(ValueError, match="no loss"):
            torch.optim.LBFGS(net.parameters()).step(closure)
        train(net, sgd(net), 3)
    assert run.recording.steps == 3


def test_loss_and_learning_rate(observed: Observing) -> None:
    losses, rates = [], []
    with observed() as run:
        net = single()
        optimizer = sgd(net)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5)
        for _ in range(6):
            x, y = batch()
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            rates.append(optimizer.param_groups[0]["lr"])
            schedule.step()
    scalars = run.recording.scalars
    assert scalars is not None
    assert scalars.steps.tolist() == [1, 2, 3, 4, 5, 6]
    assert scalars.loss.tolist() == losses
    assert scalars.lr.tolist() == rates
    assert len(set(rates)) == 3


def test_observing_ends_after_so_many_steps(observed: Observing) -> None:
    with observed(steps=3) as run:
        net = Net()
        optimizer = sgd(net)
        train(net, optimizer, 3)
        seen = net.last.running_mean.clone()
        train(net, optimizer, 4)
        evaluate(net, 2)
    r = run.recording
    assert r.steps == 3
    assert [s.kind for s in r.spans] == ["training"]
    assert r.layers[1].updates == 3
    assert not torch.equal(seen, net.last.running_mean)
    assert [e.step for e in r.events_of("stopped")] == [3]
    [note] = coverage(r).notes
    assert note == "stopped: observing ended after step 3, as was asked for; nothing later is known"


def test_closures_of_lbfgs_count_once(observed: Observing) -> None:
    evaluations = []
    with observed() as run:
        net = single()
        optimizer = torch.optim.LBFGS(net.parameters(), lr=0.1, max_iter=4)
        for _ in range(3):
            x, y = batch()

            def closure(x: torch.Tensor = x, y: torch.Tensor = y) -> torch.Tensor:
                evaluations.append(1)
                optimizer.zero_grad()
                loss = F.cross_entropy(net(x), y)
                loss.backward()
                return loss

            optimizer.step(closure)
    r = run.recording
    assert r.steps == 3
    assert r.optimizers == ["LBFGS"]
    training = only_span(r, "training")
    assert training.forwards == len(evaluations) > 6
    assert training.steps == 3
    # Every evaluation of a closure but the first reads the tensor of the one before.
    assert training.same_input == len(evaluations) - 3
    assert r.layers[0].updates == len(evaluations)


def test_a_double_pass_is_one_step_on_the_same_input(observed: Observing) -> None:
    with observed() as run:
        net = single()
        base = sgd(net)
        optimizer = Sharpness(list(net.parameters()), base)
        for _ in range(4):
            x, y = batch()

            def closure(x: torch.Tensor = x, y: torch.Tensor = y) -> None:
                net.zero_grad()
                F.cross_entropy(net(x), y).backward()

            closure()
            optimizer.step(closure)
    r = run.recording
    training = only_span(r, "training")
    assert (r.steps, training.forwards, training.steps, training.same_input) == (4, 8, 4, 4)
    assert r.layers[0].updates == 8
    assert "hand-written" not in r.optimizers


def test_a_double_pass_with_two_methods_is_one_step(observed: Observing) -> None:
    """The published form of sharpness-aware minimization: the climb is no optimizer's `step`."""
    with observed() as run:
        net = single()
        base = sgd(net)
        for _ in range(6):
            x, y = batch()
            net.zero_grad()
            F.cross_entropy(net(x), y).backward()
            with torch.no_grad():
                moves = [0.05 * w.grad for w in net.parameters()]
                for w, move in zip(net.parameters(), moves, strict=True):
                    w.add_(move)
            net.zero_grad()
            F.cross_entropy(net(x), y).backward()
            with torch.no_grad():
                for w, move in zip(net.parameters(), moves, strict=True):
                    w.sub_(move)
            base.step()
    r = run.recording
    first, second = spans(r, "training")
    assert (first.forwards, first.same_input) == (6, 0)
    assert (second.forwards, second.same_input) == (6, 6)
    # The first climb looks like a step by hand: only then it shows that an optimizer holds the weights.
    assert r.steps in (6, 7)
    assert r.layers[0].updates == 12
