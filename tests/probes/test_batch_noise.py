"""The noise of batch statistics against known populations."""

import math

import pytest
import torch
from torch import nn

from normscope.probes.noise import BatchNoise
from normscope.probes.untouched import untouched
from normscope.probes.visit import visit
from normscope.statistics import sd_of_batch_mean, sd_of_batch_variance
from probes.asking import kept


def measured(batches, norm=None, model=None):
    norm = norm or nn.BatchNorm1d(batches[0].shape[1])
    model = model or nn.Sequential(norm)
    listener = BatchNoise()
    with untouched(model):
        visit(model, [kept(b) for b in batches], [listener], math.inf)
    return listener.layers({norm: 0}, {norm: "0"})


def rectified(*shape):
    return torch.randn(*shape).relu()


POPULATIONS = {
    "gaussian": (torch.randn, 3.0),
    "uniform": (torch.rand, 1.8),
    "exponential": (lambda *s: -torch.rand(*s).clamp_min(1e-9).log(), 9.0),
}


@pytest.mark.parametrize("name", POPULATIONS)
@pytest.mark.parametrize("size", [4, 32])
def test_independent_values(name, size):
    draw, kurtosis = POPULATIONS[name]
    [found] = measured([5.0 + draw(size, 24) for _ in range(6000 // size)])
    assert found.kurtosis == pytest.approx(kurtosis, rel=0.12)
    assert found.n_eff == pytest.approx(size)
    assert found.mean_predicted == pytest.approx(sd_of_batch_mean(size), rel=0.01)
    assert found.mean_observed.value == pytest.approx(sd_of_batch_mean(size), rel=0.06)
    truth = sd_of_batch_variance(size, kurtosis)
    assert found.var_predicted == pytest.approx(truth, rel=0.08)
    assert found.var_observed.value == pytest.approx(truth, rel=0.1)
    assert found.values == size


@pytest.mark.parametrize(("rho", "size"), [(0.0, 8), (0.2, 8), (0.6, 16)])
def test_correlated_positions(rho, size):
    """Gaussian fields of 49 positions whose pairwise correlation is ρ: that of squares is ρ²."""
    m = 49

    def field():
        common = torch.randn(size, 16, 1, 1)
        return math.sqrt(rho) * common + math.sqrt(1 - rho) * torch.randn(size, 16, 7, 7)

    [found] = measured([field() for _ in range(200)], nn.BatchNorm2d(16))
    assert found.n_eff == pytest.approx(size * m / (1 + (m - 1) * rho), rel=0.08)
    assert found.n_eff_var == pytest.approx(size * m / (1 + (m - 1) * rho**2), rel=0.12)
    assert found.mean_observed.value == pytest.approx(found.mean_predicted, rel=0.1)
    assert found.var_observed.value == pytest.approx(found.var_predicted, rel=0.12)
    assert found.independent == pytest.approx(1 / math.sqrt(size * m))


def test_samples_that_resemble_their_batch_are_noisier_than_predicted():
    batches = [torch.randn(16, 12) + torch.randn(1, 12) for _ in range(60)]
    [found] = measured(batches)
    # Variance 2; between batches 1 + 1/16.
    assert found.mean_observed.value == pytest.approx(math.sqrt((1 + 1 / 16) / 2), rel=0.12)
    assert found.mean_predicted == pytest.approx(0.25, rel=0.02)
    assert found.mean_observed.low > 2 * found.mean_predicted


def test_coverage_of_the_observed_error():
    inside, runs = 0, 120
    for run in range(runs):
        torch.manual_seed(run)
        [found] = measured([torch.randn(8, 16) for _ in range(30)])
        inside += found.mean_observed.low <= 1 / math.sqrt(8) <= found.mean_observed.high
    assert 0.88 <= inside / runs <= 0.99


@pytest.mark.parametrize("alpha", [0.1, 0.01, 1.0])
def test_the_error_of_a_running_mean_against_a_simulated_one(alpha):
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(64, momentum=alpha)
    [found] = measured([torch.randn(16, 64) for _ in range(100)], norm)
    off = []
    with torch.no_grad():
        for i in range(1500 if alpha < 0.1 else 300):
            norm(torch.randn(16, 64))
            if i % 25 == 24 and (1 - alpha) ** i < 1e-2:
                off.append(norm.running_mean.clone())
    simulated = torch.stack(off).square().mean().sqrt()
    assert found.running == pytest.approx(float(simulated), rel=0.12)
    assert found.momentum == alpha


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0])
def test_the_batch_that_is_enough_is_the_least_one(alpha):
    [found] = measured(
        [torch.randn(16, 64) for _ in range(100)], nn.BatchNorm1d(64, momentum=alpha)
    )

    def error(size):
        return math.sqrt(alpha / (2 - alpha) / size)

    assert error(found.enough) <= 0.1 + 1e-9
    assert found.enough == 1 or error(found.enough - 1) > 0.1
    assert found.enough_alone == 100


def test_without_momentum_there_is_no_running_error():
    [found] = measured([torch.randn(16, 4) for _ in range(10)], nn.BatchNorm1d(4, momentum=None))
    assert found.running is None
    assert found.enough is None


def test_constant_channels_have_no_say():
    x = [torch.cat([torch.randn(16, 3), torch.ones(16, 3)], 1) for _ in range(50)]
    [found] = measured(x)
    assert found.n_eff == pytest.approx(16)
    assert measured([torch.ones(16, 3) for _ in range(5)]) == []


def test_positions_folded_into_the_samples_are_grouped_again():
    """(samples · positions, channels), as a sequence model has it."""
    norm = nn.BatchNorm1d(8)

    class Folding(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = norm

        def forward(self, x):
            return self.norm(x.flatten(0, 1)).view_as(x)

    batches = [torch.randn(16, 1, 8) + 0.5 * torch.randn(16, 10, 8) for _ in range(50)]
    [found] = measured(batches, norm, Folding())
    assert found.values == 160
    assert found.n_eff == pytest.approx(160 / (1 + 9 * 0.8), rel=0.1)


def test_large_means_cost_no_digits():
    torch.manual_seed(1)
    x = [torch.randn(16, 8).double() for _ in range(40)]
    norm = nn.BatchNorm1d(8).double()
    [near], [far] = measured(x, norm), measured([b + 1e6 for b in x], norm)
    assert far.var_predicted == pytest.approx(near.var_predicted, rel=1e-4)
    assert far.kurtosis == pytest.approx(near.kurtosis, rel=1e-3)
