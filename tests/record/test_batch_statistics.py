"""Two readings of the running statistics give back the batch's own, or say that they cannot."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from normscope.record.recording import Layer, Recording
from normscope.record.series import ROWS, Reading, tables
from normscope.record.torch.layers import NormLayer
from record.conftest import Observing
from record.loops import evaluate, sgd, train

EPS = 1e-5
Batches = list[torch.Tensor]


def drawn(steps: int, *, mean: float = 0.0, sd: float = 1.0) -> Batches:
    """Batches of 16 samples, 4 channels, each channel about its own mean."""
    centre = mean * torch.randn(4)
    return [centre + sd * torch.randn(16, 4) for _ in range(steps)]


def fit(norm: nn.BatchNorm1d, batches: Batches, each: int = 1) -> None:
    """`each` batches a step through a model that begins with `norm`."""
    net = nn.Sequential(norm, nn.Linear(4, 3).to(norm.running_mean.dtype))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    for i, x in enumerate(batches):
        net(x).square().mean().backward()
        if i % each == each - 1:
            optimizer.step()
            optimizer.zero_grad()


def truth(batches: Batches, alpha: float) -> list[dict[str, float]]:
    """The same numbers in float64 from the batches themselves."""
    mean, var = np.zeros(4), np.ones(4)
    rows: list[dict[str, float]] = []
    for x in batches:
        values = x.double().numpy()
        batch_mean, batch_var = values.mean(0), values.var(0, ddof=1)
        rows.append(
            {
                "mean_noise": math.sqrt(np.mean((batch_mean - mean) ** 2 / (var + EPS))),
                "var_noise": math.sqrt(np.mean(np.log((batch_var + EPS) / (var + EPS)) ** 2)),
                "batch_var_min": batch_var.min(),
                "collapsed": float((batch_var < EPS).mean()),
                "recovered": 1.0,
            }
        )
        mean, var = (1 - alpha) * mean + alpha * batch_mean, (1 - alpha) * var + alpha * batch_var
        rows[-1] |= {"running_var_min": var.min(), "running_var_max": var.max()}
    return rows


def polled(recording: Recording, name: str) -> NDArray[np.float32]:
    assert recording.polls is not None
    return recording.polls.values[name][:, 0]


@pytest.mark.parametrize("alpha", [0.01, 0.1, 0.5, 1.0])
def test_noise_is_that_of_the_batches(observed: Observing, alpha: float) -> None:
    batches = drawn(8, mean=1.0)
    with observed() as run:
        fit(nn.BatchNorm1d(4, momentum=alpha), batches)
    r = run.recording
    assert r.polls is not None
    assert r.polls.steps.tolist() == list(range(9))  # the first reading is before the first step
    assert np.isnan(polled(r, "mean_noise")[0])
    for i, wanted in enumerate(truth(batches, alpha), start=1):
        got = {name: float(polled(r, name)[i]) for name in wanted}
        assert got == pytest.approx(wanted, rel=1e-3), f"step {i}"


def test_a_collapsed_channel_is_told(observed: Observing) -> None:
    batches = drawn(4)
    for x in batches:
        x[:, 2] = 0.25
    with observed() as run:
        fit(nn.BatchNorm1d(4, momentum=1.0), batches)
    # From the second step on the channel's variance is recovered exactly: zero.
    assert polled(run.recording, "collapsed")[2:].tolist() == [0.25] * 3
    assert polled(run.recording, "batch_var_min")[2:].tolist() == [0.0] * 3


def test_a_variance_too_small_to_recover_is_missing(observed: Observing) -> None:
    batches = drawn(3, sd=1e-4)
    with observed() as run:
        fit(nn.BatchNorm1d(4, momentum=0.01), batches)
    r = run.recording
    # Bound: 1.2e-7 · 1 / 0.01 = 1.2e-5, more than a tenth of eps + 1e-8.
    assert np.isnan(polled(r, "var_noise")[1])
    assert polled(r, "recovered")[1] == 0.0
    assert polled(r, "mean_noise")[1] == pytest.approx(0.0, abs=1e-4)


def test_a_large_mean_hides_the_batch(observed: Observing) -> None:
    batches = [1e6 + x for x in drawn(30)]
    with observed() as run:
        fit(nn.BatchNorm1d(4, momentum=0.1), batches)
    # Bound: 1.2e-7 · 1e6 / 0.1 = 1.2 standard deviations.
    assert np.isnan(polled(run.recording, "mean_noise")[-1])
    assert polled(run.recording, "recovered")[-1] == 0.0


def test_a_cumulative_average_has_no_constant_weight(observed: Observing) -> None:
    with observed() as run:
        fit(nn.BatchNorm1d(4, momentum=None), drawn(3))
    r = run.recording
    assert r.layers[0].momentum is None
    for name in ("mean_noise", "var_noise", "batch_var_min", "collapsed", "recovered"):
        assert np.isnan(polled(r, name)).all(), name
    assert np.isfinite(polled(r, "running_var_max")).all()


def test_two_updates_between_readings_are_a_mixture(observed: Observing) -> None:
    with observed() as run:
        fit(nn.BatchNorm1d(4), drawn(6), each=2)
    r = run.recording
    assert r.steps == 3
    for name in ("mean_noise", "var_noise", "recovered"):
        assert np.isnan(polled(r, name)).all(), name


def test_an_evaluation_in_training_mode_is_not_taken_for_the_batch(observed: Observing) -> None:
    with observed() as run:
        net = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3))
        optimizer = sgd(net)
        train(net, optimizer, 2)
        with torch.no_grad():
            net(torch.randn(16, 4))
        train(net, optimizer, 2)
        evaluate(net, 1)
        train(net, optimizer, 1)
    known = np.isfinite(polled(run.recording, "mean_noise"))
    assert known.tolist() == [False, True, True, False, True, True]


def test_half_precision_buffers(observed: Observing) -> None:
    batches = [x.bfloat16() for x in drawn(4, mean=3.0)]
    with observed() as run:
        fit(nn.BatchNorm1d(4, momentum=0.01).bfloat16(), batches)
    r = run.recording
    assert r.layers[0].dtype == "bfloat16"
    # Bound for the variance at the start: 2^-7 / 0.01, most of its value.
    assert np.isnan(polled(r, "var_noise")).all()
    assert polled(r, "recovered")[1:].tolist() == [0.0] * 4
    assert np.isfinite(polled(r, "running_var_max")).all()


def test_double_precision_recovers_what_single_cannot(observed: Observing) -> None:
    batches = [x.double() for x in drawn(4, sd=1e-4)]
    with observed() as run:
        fit(nn.BatchNorm1d(4, momentum=0.01).double(), batches)
    wanted = truth(batches, 0.01)
    assert polled(run.recording, "recovered")[1:].tolist() == [1.0] * 4
    got = polled(run.recording, "var_noise")[1:]
    assert got.tolist() == pytest.approx([w["var_noise"] for w in wanted], rel=1e-5)


@given(
    alpha=st.sampled_from([0.001, 0.01, 0.1, 0.5, 1.0]),
    mean=st.floats(-1e4, 1e4, width=32),
    old_var=st.floats(2**-20, 2**20, width=32),
    batch_mean=st.floats(-1e4, 1e4, width=32),
    batch_var=st.floats(2**-20, 2**20, width=32),
)
def test_what_is_recovered_is_true_within_a_tenth(
    alpha: float, mean: float, old_var: float, batch_mean: float, batch_var: float
) -> None:
    """An update in float32, undone: the result is missing, or off by no more than was promised."""
    a, one = np.float32(alpha), np.float32(1)
    new_mean = a * np.float32(batch_mean) + (one - a) * np.float32(mean)
    new_var = a * np.float32(batch_var) + (one - a) * np.float32(old_var)
    layer = NormLayer(Layer(id=0, model=0, path="", type="BatchNorm1d", eps=EPS), None)

    def reading(step: int, m: float, v: float) -> Reading:
        return Reading(
            step,
            [layer],
            np.array([0]),
            np.array([float(m)]),
            np.array([float(v)]),
            [step],
            [alpha],
            [float(np.finfo(np.float32).eps)],
        )

    [table] = tables([(reading(0, mean, old_var), reading(1, new_mean, new_var))])
    mean_noise, var_noise = float(table[0, 0]), float(table[1, 0])
    # Two roundings and the weight's own one: twice the stated bound covers them.
    if not math.isnan(mean_noise):
        true = abs(batch_mean - mean) / math.sqrt(old_var + EPS)
        assert mean_noise == pytest.approx(true, abs=0.2)
    if not math.isnan(var_noise):
        true = abs(math.log((batch_var + EPS) / (old_var + EPS)))
        assert var_noise == pytest.approx(true, abs=0.25)
        assert table[4, 0] == pytest.approx(batch_var, abs=0.2 * (batch_var + EPS))


def test_readings_together_are_the_readings_alone() -> None:
    """Of one layer and of two, with and without a single update between them, in any order."""
    draw = np.random.default_rng(0)
    made = [
        NormLayer(Layer(id=i, model=0, path="", type="BatchNorm1d", eps=EPS), None)
        for i in range(2)
    ]

    def reading(step: int, layers: int, updates: int) -> Reading:
        starts, channels = np.array([0, 3][:layers]), [3, 8][layers - 1]
        mean, var = draw.normal(size=channels), draw.uniform(0.5, 2, size=channels)
        return Reading(
            step,
            made[:layers],
            starts,
            mean,
            var,
            [updates] * layers,
            [0.1] * layers,
            [1e-7] * layers,
        )

    readings = [
        reading(s, n, u)
        for s, n, u in [(1, 2, 1), (2, 2, 2), (4, 1, 4), (5, 1, 5), (6, 2, 6), (7, 2, 7)]
    ]
    pairs = list(zip([None, *readings], readings, strict=False))
    together = tables(pairs)
    for pair, table in zip(pairs, together, strict=True):
        np.testing.assert_array_equal(table, tables([pair])[0])
    told = [not np.isnan(t[ROWS["mean_noise"]]).any() for t in together]
    assert told == [False, True, False, True, False, True]


def test_numbers_that_are_not_finite(observed: Observing) -> None:
    with observed() as run:
        net = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 4), nn.BatchNorm1d(4))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
        for i in range(6):
            x = torch.randn(8, 4)
            if i == 3:
                x[2, 1] = math.inf
            F.mse_loss(net(x), torch.zeros(8, 4)).backward()
            optimizer.step()
    events = run.recording.events_of("nonfinite")
    assert [(e.layer, e.since_step, e.step, e.model) for e in events] == [
        (0, 3, 4, 0),
        (1, 3, 4, 0),
    ]
    assert events[0].detail == "running_mean[1] is inf (1 of 4 channels)"
    assert events[1].detail == "running_mean[0] is nan (4 of 4 channels)"


def test_statistics_at_the_end_for_each_channel(observed: Observing) -> None:
    batches = drawn(5)
    norm = nn.BatchNorm1d(4)
    with observed() as run:
        fit(norm, batches)
    [channels] = run.recording.channels.values()
    assert channels.running_mean.tolist() == norm.running_mean.double().tolist()
    assert channels.running_var.tolist() == norm.running_var.double().tolist()
    assert channels.population_mean is None


class KerasNorm(nn.BatchNorm1d):
    """Its `momentum` is the weight of the old average, as in Keras."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            1 - self.momentum,
        )


def test_the_momentum_that_is_passed_counts(observed: Observing) -> None:
    with observed() as run:
        net = nn.Sequential(KerasNorm(4, momentum=0.9), nn.Linear(4, 2))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for _ in range(20):
            net(torch.randn(16, 4)).square().mean().backward()
            optimizer.step()
    [layer] = run.recording.layers.values()
    assert layer.momentum == pytest.approx(0.1)
    moving = [c for _, _, c in run.recording.calls(layer.id) if c.updates]
    assert moving
    assert all(c.momentum == pytest.approx(0.1) for c in moving)
    assert np.nanmedian(run.recording.polls.values["recovered"]) == 1.0
