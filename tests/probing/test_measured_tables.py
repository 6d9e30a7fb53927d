"""The tables of docs/probes.md in direction and size, one seed of each."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

import normscope
from probing.digits import TRAIN, contrast, data, grouped, net, noisy, setup, shuffled, trained


def answers(made, *names):
    return normscope.probe(made, *names).recording.measurements


@pytest.mark.parametrize(
    ("momentum", "steps", "least", "most"),
    [(0.01, 40, 0.05, 0.4), (0.1, 40, -0.01, 0.03), (0.01, 480, -0.01, 0.01)],
)
def test_a_slow_average_costs_points_after_few_steps_only(momentum, steps, least, most):
    torch.manual_seed(0)
    x, y = data()
    x, y = x[:TRAIN], y[:TRAIN]
    model = trained(
        net(momentum), lambda epoch: shuffled(x, y, seed=epoch), epochs=99, lr=4e-3, steps=steps
    )
    [gap] = answers(
        {"model": model, "train": shuffled(x, y), "loss": nn.CrossEntropyLoss()}, "gap"
    )["gap"]
    assert least <= gap.error_running - gap.error_population <= most


@pytest.mark.parametrize(
    ("compose", "least", "most"),
    [
        (shuffled, -0.01, 0.01),
        (partial(grouped, classes=2), 0.08, 0.3),
        (partial(grouped, classes=1), 0.15, 0.5),
    ],
    ids=["shuffled", "two classes", "one class"],
)
def test_grouped_batches_leak(compose, least, most):
    [found] = answers(setup(compose), "coupling")["coupling"]
    assert least <= found.leak.error.rise.value <= most
    assert found.evaluation[-1].change.value < 1e-6
    assert found.training[-1].change.value > 0.1


def test_re_estimating_mends_contrast_and_not_noise():
    x, y = data()
    x, y = x[TRAIN:], y[TRAIN:]
    domains = {"contrast": shuffled(contrast(x), y), "noise": shuffled(noisy(x), y)}
    [found] = answers(setup(domains=domains), "domain")["domain"]
    same, fog, noise = found.shifts
    assert same.layers[0].apart < 3 * same.layers[0].apart_floor
    assert -fog.error.rise.value > 0.5
    assert fog.error.after < 0.05
    assert noise.layers[0].apart > 10 * noise.layers[0].apart_floor
    assert -noise.error.rise.value < 0.05


def test_batches_of_one_kind_are_noisier_than_single_samples_say():
    model = setup()["model"]
    x, y = data()
    x, y = x[:TRAIN], y[:TRAIN]
    for batches, least, most in ((shuffled(x, y), 0.85, 1.15), (grouped(x, y), 2.0, 4.0)):
        [found] = answers({"model": model, "train": batches}, "noise")["noise"]
        for layer in found.layers:
            assert least <= layer.mean_observed.value / layer.mean_predicted <= most
