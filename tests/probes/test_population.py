"""Recomputed statistics against their definition in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from normscope.probes.population import Moments, install, pooled, population
from normscope.probes.replay import batch_norms
from normscope.probes.untouched import untouched
from probes.asking import kept

SHAPES = {
    nn.BatchNorm1d: [(6,), (6, 5)],
    nn.BatchNorm2d: [(6, 4, 3)],
    nn.BatchNorm3d: [(6, 2, 3, 4)],
}


def truth(x):
    """Mean and unbiased variance for each channel of (N, C, *), float64."""
    flat = np.moveaxis(x.double().numpy(), 1, 0).reshape(x.shape[1], -1)
    return flat.mean(1), flat.var(1, ddof=1)


@pytest.mark.parametrize(
    ("norm", "shape"), [(n, s) for n, shapes in SHAPES.items() for s in shapes]
)
def test_pooled_over_batches_of_any_size(norm, shape):
    model = norm(6)
    x = 3 + 2 * torch.randn(50, *shape)
    x[:20] += 5  # batches that differ: the mean of their variances would miss that
    batches = [kept(part) for part in x.split([20, 2, 17, 11])]
    with untouched(model):
        found = population(model, batches, [model])[model]
    mean, var = truth(x)
    assert found.mean.numpy() == pytest.approx(mean, rel=1e-12)
    assert found.var.numpy() == pytest.approx(var, rel=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 10_000))
def test_moments_add_up_in_any_cut(sizes, seed):
    x = torch.randn(sum(sizes), 3, 2, generator=torch.Generator().manual_seed(seed))
    parts = [Moments.of(p) for p in x.split(sizes)]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    mean, var = truth(x)
    assert total.mean.numpy() == pytest.approx(mean, abs=1e-12)
    assert total.var.numpy() == pytest.approx(var, rel=1e-10)


def test_a_large_mean_costs_no_digits():
    x = 1e6 + torch.randn(64, 2, dtype=torch.float64)
    total = Moments.of(x[:32]) + Moments.of(x[32:])
    assert total.var.numpy() == pytest.approx(truth(x)[1], rel=1e-9)


def test_half_precision_is_widened_first():
    x = (20 + torch.randn(512, 4)).to(torch.bfloat16)
    total = Moments.of(x[:256]) + Moments.of(x[256:])
    mean, var = truth(x)
    assert total.mean.numpy() == pytest.approx(mean, rel=1e-12)
    assert total.var.numpy() == pytest.approx(var, rel=1e-9)


def test_a_shared_layer_pools_its_calls():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(2)

        def forward(self, x):
            return self.norm(x) + self.norm(input=10 + 3 * x)

    model, x = Twice(), torch.randn(40, 2)
    with untouched(model):
        found = population(model, [kept(p) for p in x.split(10)], [model.norm])[model.norm]
    mean, var = truth(torch.cat([x, 10 + 3 * x]))
    assert found.mean.numpy() == pytest.approx(mean, rel=1e-6)
    assert found.var.numpy() == pytest.approx(var, rel=1e-6)


def test_a_deeper_layer_sees_inputs_that_were_normalized_by_their_batch():
    model = nn.Sequential(nn.BatchNorm1d(2, affine=False, eps=1e-12), nn.BatchNorm1d(2))
    parts = (100 * torch.randn(2) + torch.randn(8, 2) for _ in range(5))
    with untouched(model):
        found = population(model, [kept(p) for p in parts], batch_norms(model))
    assert found[model[1]].mean.numpy() == pytest.approx(np.zeros(2), abs=1e-4)
    assert found[model[1]].var.numpy() == pytest.approx(np.full(2, 40 / 39), rel=1e-4)


def test_a_layer_that_is_never_reached_has_no_entry():
    model = nn.ModuleDict({"used": nn.BatchNorm1d(2), "spare": nn.BatchNorm1d(2)})
    model.forward = lambda x: model["used"](x)
    with untouched(model):
        found = population(model, [kept(torch.randn(4, 2))], batch_norms(model))
    assert list(found) == [model["used"]]


def test_pooled_halves_are_the_whole_and_can_be_installed():
    model, x = nn.BatchNorm1d(3), torch.randn(30, 3)
    halves = [{model: Moments.of(x[:10])}, {model: Moments.of(x[10:])}]
    install(pooled(halves))
    mean, var = truth(x)
    assert model.running_mean.numpy() == pytest.approx(mean, abs=1e-6)
    assert model.running_var.numpy() == pytest.approx(var, rel=1e-6)
