"""Norms of gradients and weights at sampled steps: right numbers, few steps, nothing of the run disturbed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from normscope.record.recording import Gradients
from record.conftest import Observing
from record.loops import Net, batch, sgd, train


def norms_of(model: nn.Module) -> dict[str, tuple[float, float]]:
    return {
        path: (float(p.grad.double().norm()), float(p.detach().double().norm()))
        for path, p in model.named_parameters()
        if p.ndim >= 2 and p.grad is not None
    }


def row_at(
    gradients: Gradients | None, step: int, model: int = 0
) -> dict[str, tuple[float, float]]:
    assert gradients is not None
    [i] = np.flatnonzero(gradients.steps == step)
    return {
        p.path: (float(gradients.gradient[i, k]), float(gradients.weight[i, k]))
        for k, p in enumerate(gradients.parameters)
        if p.model == model and not math.isnan(gradients.gradient[i, k])
    }


def steps_of(gradients: Gradients | None, model: int) -> list[int]:
    assert gradients is not None
    columns = [k for k, p in enumerate(gradients.parameters) if p.model == model]
    return [
        int(s)
        for s, row in zip(gradients.steps, gradients.gradient, strict=True)
        if np.isfinite(row[columns]).any()
    ]


def test_the_norms_of_every_weight_before_the_step(observed: Observing) -> None:
    model = Net()
    optimizer = sgd(model)
    with observed() as seen:
        train(model, optimizer, 9)
        x, y = batch()
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        expected = norms_of(model)
        optimizer.step()
    found = row_at(seen.recording.gradients, 10)
    assert list(found) == ["body.0.weight", "body.3.weight", "head.weight"]
    for path, norms in expected.items():
        assert found[path] == pytest.approx(norms, rel=1e-5)


def test_steps_lie_ever_further_apart_in_counted_loops_too(observed: Observing) -> None:
    model = Net()
    with observed() as seen:
        train(model, sgd(model), 1000)
        assert seen.observer.routine.active
    steps = steps_of(seen.recording.gradients, 0)
    assert steps[:4] == [10, 13, 17, 22]
    assert len(steps) < 25
    assert steps[-1] > 750


def test_nothing_is_sampled_when_nothing_is_affordable(observed: Observing) -> None:
    model = nn.Sequential(nn.Linear(4, 4096), nn.BatchNorm1d(4096), nn.Linear(4096, 4096))
    with observed(budget=0.0) as seen:
        for _ in range(3):
            seen.observer.schedule.charge(1.0, measuring=True)
            train(model, sgd(model), 5, size=2)
    assert seen.recording.gradients is None


def test_a_few_samples_do_not_ask_what_they_cost(observed: Observing) -> None:
    net = Net()
    with observed(budget=1e-12) as seen:
        seen.observer.gradients._slowness = 1e9  # as where other processes interrupt a sample
        train(net, sgd(net), 90)
    *early, late = seen.recording.gradients.steps.tolist()
    assert early == [10, 20, 40]
    assert 80 <= late <= 82  # looked at again a little after one that was too dear


@pytest.mark.parametrize("fused", [False, True])
def test_the_scale_of_mixed_precision_is_divided_out(observed: Observing, fused: bool) -> None:
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with observed() as seen:
        for _ in range(10):
            x, y = batch()
            optimizer.zero_grad()
            scaler.scale(F.cross_entropy(model(x), y)).backward()
            expected = {k: (g / 1024, w) for k, (g, w) in norms_of(model).items()}
            scaler.step(optimizer)
            scaler.update()
    for path, norms in row_at(seen.recording.gradients, 10).items():
        assert norms == pytest.approx(expected[path], rel=1e-4)


def test_a_step_that_the_scaler_holds_back_leaves_no_sample(observed: Observing) -> None:
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with observed() as seen:
        for i in range(10):
            x, y = batch()
            optimizer.zero_grad()
            scaler.scale(F.cross_entropy(model(x), y)).backward()
            if i == 9:
                model.head.weight.grad[0, 0] = torch.inf
            scaler.step(optimizer)
            scaler.update()
    gradients = seen.recording.gradients
    assert gradients is None or 10 not in gradients.steps


def test_gradients_that_are_no_numbers_are_infinite(observed: Observing) -> None:
    model = Net()
    optimizer = sgd(model)
    with observed() as seen:
        train(model, optimizer, 9)
        x, y = batch()
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        model.head.weight.grad.fill_(torch.nan)
        optimizer.step()
    assert row_at(seen.recording.gradients, 10)["head.weight"][0] == math.inf


def test_what_has_no_dense_gradient_is_left_out(observed: Observing) -> None:
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(20, 4, sparse=True)
            self.frozen = nn.Linear(4, 4).requires_grad_(False)
            self.unused = nn.Linear(4, 4)
            self.norm = nn.BatchNorm1d(4)
            self.head = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.norm(self.frozen(self.table(x))))

    model = Words()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with observed() as seen:
        for _ in range(12):
            optimizer.zero_grad()
            F.cross_entropy(model(torch.arange(16)), torch.arange(16) % 3).backward()
            optimizer.step()
    assert list(row_at(seen.recording.gradients, 10)) == ["head.weight"]


def test_optimizers_that_take_turns_are_sampled_each(observed: Observing) -> None:
    one, two = Net(), Net()
    first, second = sgd(one), sgd(two)
    with observed() as seen:
        for _ in range(30):
            train(one, first, 1)
            train(two, second, 1)
    recording = seen.recording
    a, b = steps_of(recording.gradients, 0), steps_of(recording.gradients, 1)
    assert min(len(a), len(b)) >= 4
    assert not set(a) & set(b)


def test_two_optimizers_of_one_model_share_a_step(observed: Observing) -> None:
    model = Net()
    body, head = sgd(model.body), sgd(model.head)
    with observed() as seen:
        for _ in range(12):
            x, y = batch()
            model.zero_grad()
            F.cross_entropy(model(x), y).backward()
            body.step()
            head.step()
    assert set(row_at(seen.recording.gradients, 10)) == {
        "body.0.weight",
        "body.3.weight",
        "head.weight",
    }


def test_halves_do_not_overflow(observed: Observing) -> None:
    model = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.Linear(64, 3)).bfloat16()
    model[0].weight.data.mul_(1e4)
    with observed() as seen:
        for _ in range(10):
            optimizer = sgd(model)
            model.zero_grad()
            F.cross_entropy(
                model(torch.randn(16, 64).bfloat16()).float(), torch.arange(16) % 3
            ).backward()
            optimizer.step()
    found = row_at(seen.recording.gradients, 10)
    assert found["0.weight"][1] == pytest.approx(
        float(model[0].weight.detach().double().norm()), rel=1e-2
    )


def test_the_run_is_the_same_with_samples(observed: Observing) -> None:
    def run() -> list[torch.Tensor]:
        torch.manual_seed(3)
        model = Net()
        train(model, torch.optim.Adam(model.parameters()), 40)
        return [*model.state_dict().values()]

    expected = run()
    with observed() as seen:
        found = run()
    assert len(steps_of(seen.recording.gradients, 0)) >= 5
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


@pytest.mark.parametrize("optimize", [torch.optim.SGD, torch.optim.LBFGS])
def test_steps_that_compute_their_gradients_by_a_closure(
    observed: Observing, optimize: type[torch.optim.Optimizer]
) -> None:
    model = Net()
    optimizer = optimize(model.parameters(), lr=0.05)
    found: dict[int, dict[str, tuple[float, float]]] = {}
    with observed() as seen:
        for step in range(1, 31):
            x, y = batch()

            def closure(x: torch.Tensor = x, y: torch.Tensor = y) -> torch.Tensor:
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                return loss

            optimizer.step(closure)
            found[step] = norms_of(model)
    steps = steps_of(seen.recording.gradients, 0)
    assert steps[:2] == [10, 13]
    for step in steps:
        taken = row_at(seen.recording.gradients, step)
        assert taken.keys() == found[step].keys()
        for path, norms in taken.items():
            assert norms == pytest.approx(found[step][path], rel=1e-5)


def test_weights_that_the_script_moves_itself(observed: Observing) -> None:
    model = Net()
    expected = {}
    with observed() as seen:
        for step in range(1, 31):
            x, y = batch()
            F.cross_entropy(model(x), y).backward()
            expected[step] = norms_of(model)
            with torch.no_grad():
                for p in model.parameters():
                    p -= 0.05 * p.grad
                    p.grad = None
    gradients = seen.recording.gradients
    steps = steps_of(gradients, 0)
    assert steps[0] == 10
    assert len(steps) >= 4
    for step in steps:
        for path, found in row_at(gradients, step).items():
            assert found == pytest.approx(expected[step][path], rel=1e-5)
