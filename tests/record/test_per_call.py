"""Several training calls of one norm layer in one step are told apart."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from normscope.record.recording import Contrast, Recording
from normscope.record.torch.contrasts import MOST_CALLS, difference
from normscope.record.torch.per_call import BARREN
from record.conftest import Observing
from record.loops import Net, batch, line_at, sgd, single, train


def only(recording: Recording) -> Contrast:
    [contrast] = recording.contrasts
    return contrast


def two_forwards(net: nn.Module, steps: int, shift: float = 0.0, scale: float = 1.0) -> None:
    optimizer = sgd(net)
    for _ in range(steps):
        (x, y), (z, w) = batch(64), batch(64)
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        F.cross_entropy(net(z * scale + shift), w).backward()
        optimizer.step()


def test_size_of_the_difference_between_two_forwards(observed: Observing) -> None:
    with observed() as seen:
        two_forwards(single(), 60, shift=3.0, scale=2.0)
    c = only(seen.recording)
    assert (c.forward, c.position, c.samples, c.same_input) == (1, 0, 64, 0)
    assert c.steps > 50
    assert c.recovered == 1.0
    assert c.mean == pytest.approx(3 / math.sqrt((1 + 4) / 2), rel=0.05)
    assert c.log_var == pytest.approx(math.log(4), rel=0.05)
    assert c.mean_t > 50
    assert c.log_var_t > 30
    assert "net(x)" in line_at(c.site_first)
    assert "net(z * scale + shift)" in line_at(c.site)


def test_equal_distributions_differ_by_noise_alone(observed: Observing) -> None:
    with observed() as seen:
        two_forwards(single(), 100)
    c = only(seen.recording)
    assert c.mean < 0.06  # one difference has a standard deviation of √(2/64) = 0.18
    assert c.mean_t < 2.5
    assert c.log_var_t < 2.5


def test_accumulated_forwards_from_one_line(observed: Observing) -> None:
    net = single()
    with observed() as seen:
        optimizer = sgd(net)
        for _ in range(10):
            optimizer.zero_grad()
            for _ in range(MOST_CALLS + 4):
                x, y = batch()
                F.cross_entropy(net(x), y).backward()
            optimizer.step()
    places = sorted((c.forward, c.position) for c in seen.recording.contrasts)
    assert places == [(k, 0) for k in range(1, MOST_CALLS)]


class Shared(nn.Module):
    """One batch norm, called on two inputs in one forward."""

    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(4)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return self.head(torch.cat([self.bn(x), self.bn(z)], 1))


def shared(net: Shared, steps: int) -> None:
    optimizer = sgd(net)
    for _ in range(steps):
        x, y = batch(64)
        optimizer.zero_grad()
        F.cross_entropy(net(x, 1 + torch.randn(64, 4)), y).backward()
        optimizer.step()


def test_calls_inside_one_forward(observed: Observing) -> None:
    with observed() as seen:
        shared(Shared(), 40)
    c = only(seen.recording)
    assert (c.forward, c.position) == (0, 1)
    assert c.mean == pytest.approx(1.0, rel=0.1)
    assert c.site == c.site_first


def test_steady_loop_that_is_counted_is_still_sampled(observed: Observing) -> None:
    with observed(budget=0.1, keep_bytes=0) as seen:
        shared(Shared(), 2000)
        assert seen.observer.routine.active
    c = only(seen.recording)
    assert 8 <= c.steps < 1500
    assert c.last_step > 500
    assert c.mean == pytest.approx(1.0, rel=0.1)


def test_a_late_second_forward_is_sampled_however_little_may_be_spent(observed: Observing) -> None:
    """A memory of earlier tasks joins after the first of them."""
    with observed(budget=0.0, keep_bytes=0) as seen:
        seen.observer.schedule.charge(1.0, measuring=True)  # an empty purse
        net = single()
        train(net, sgd(net), 200)
        two_forwards(net, 60, shift=3.0)
    assert only(seen.recording).steps >= 12


def test_one_call_a_step_is_never_read(observed: Observing) -> None:
    with observed() as seen:
        train(Net(), sgd(net := Net()), 1)
        train(net, sgd(net), 30)
        assert seen.observer.per_call._cost == 2e-4
    assert seen.recording.contrasts == []


def test_two_sets_of_statistics_in_one_module_are_no_pair(observed: Observing) -> None:
    class TwoDomains(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for k in "ab":
                self.register_buffer(f"mean_{k}", torch.zeros(4))
                self.register_buffer(f"var_{k}", torch.ones(4))
            self.head = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = F.batch_norm(x, self.mean_a, self.var_a, training=True) + F.batch_norm(
                x + 5, self.mean_b, self.var_b, training=True
            )
            return self.head(x)

    with observed() as seen:
        net = TwoDomains()
        train(net, sgd(net), BARREN + 20)
        assert not seen.observer.per_call.sampling
    assert seen.recording.contrasts == []


def test_a_teacher_pass_without_gradients_is_no_pair(observed: Observing) -> None:
    net = single()
    with observed() as seen:
        optimizer = sgd(net)
        for _ in range(20):
            x, y = batch()
            with torch.no_grad():
                net(x + 3)
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
    assert seen.recording.contrasts == []


def test_second_pass_on_the_same_input_is_told(observed: Observing) -> None:
    net = single()
    with observed() as seen:
        optimizer = sgd(net)
        for _ in range(20):
            x, y = batch()
            for _ in range(2):
                F.cross_entropy(net(x), y).backward()
            optimizer.step()
    c = only(seen.recording)
    assert c.same_input >= c.steps - 1
    assert c.mean == 0.0


def test_recomputation_is_not_a_second_call(observed: Observing) -> None:
    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = single()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            from torch.utils.checkpoint import checkpoint

            return checkpoint(self.block, x, use_reentrant=False)

    with observed() as seen:
        net = Checkpointed()
        train(net, sgd(net), 20)
    assert seen.recording.contrasts == []


def test_what_cannot_be_recovered_is_missing(observed: Observing) -> None:
    net = nn.Sequential(nn.BatchNorm1d(4, momentum=1e-7), nn.Linear(4, 3))
    net[0].running_mean.fill_(1e3)  # pyright: ignore[reportCallIssue]
    with observed() as seen:
        two_forwards(net, 20, shift=3.0)
    c = only(seen.recording)
    assert c.recovered == 0.0
    assert math.isnan(c.mean_t)


def test_refused_batch_leaves_no_half_reading(observed: Observing) -> None:
    net = single()
    with observed() as seen:
        optimizer = sgd(net)
        for _ in range(20):
            for size in (16, 1, 16):
                x, y = batch(size)
                try:
                    F.cross_entropy(net(x), y).backward()
                except ValueError:
                    net.eval()
                    net(x)
                    net.train()
            optimizer.step()
    assert {c.same_input for c in seen.recording.contrasts} == {0}
    assert all(c.mean_t < 4 for c in seen.recording.contrasts)


def test_difference_is_unbiased_and_holds_its_level() -> None:
    """Noise alone: the squared size is 0 on average, and t keeps Student's bounds however channels are correlated."""
    rng = np.random.default_rng(0)
    steps, channels, runs = 16, 20, 2000
    for mix in (np.eye(channels), np.ones((channels, channels)), np.tri(channels)):
        over = 0
        for _ in range(runs):
            d = rng.normal(size=(steps, channels)) @ mix
            _, t = difference(np.full(channels, steps), d.sum(0), (d**2).sum(0))
            over += t > 2.947  # two-sided 1 % of Student's t with 15 degrees of freedom
        assert over / runs < 0.017  # 1 % and three standard errors
