"""Intervals hold what they promise: coverage by simulation."""

import math

import pytest
import torch

from normscope.probes.changes import changed
from normscope.probes.intervals import resampled, student


@pytest.mark.parametrize(
    ("p", "degrees", "known"),
    [(0.025, 3, -3.182), (0.025, 7, -2.365), (0.025, 30, -2.042), (0.975, 15, 2.131)],
)
def test_quantiles_of_student(p, degrees, known):
    assert student(p, degrees) == pytest.approx(known, rel=0.02)


def coverage(draw, truth, statistic, units, runs=300):
    """How often the interval of `units` drawn values holds the truth."""
    inside = 0
    for run in range(runs):
        torch.manual_seed(run)
        found = resampled(draw(units), statistic)
        inside += found.low <= truth <= found.high
    return inside / runs


@pytest.mark.parametrize("units", [6, 20, 60])
def test_coverage_of_a_mean(units):
    share = coverage(lambda n: torch.randn(n, 1).double() + 2, 2.0, lambda m: m[:, 0], units)
    assert 0.92 <= share <= 0.98


def test_coverage_of_a_root_mean_square():
    # 16 channels or features stand behind each unit, as behind a batch.
    share = coverage(
        lambda n: torch.randn(n, 16).double().square().mean(1, keepdim=True),
        1.0,
        lambda m: m[:, 0].sqrt(),
        20,
    )
    assert 0.90 <= share <= 0.98


def test_a_percentile_interval_without_widening_would_be_too_narrow():
    torch.manual_seed(0)
    units = torch.randn(6, 1).double()
    found = resampled(units, lambda m: m[:, 0])
    naive = 1.96 * float(units.std(correction=0)) / math.sqrt(6)
    assert found.high - found.low > 1.2 * 2 * naive


def test_few_units_have_no_interval():
    found = resampled(torch.randn(3, 1).double(), lambda m: m[:, 0])
    assert found.low is None
    assert math.isnan(found.noise)


@pytest.mark.parametrize("shared", [0.0, 0.05])
def test_coverage_of_a_paired_change_of_samples_that_share_their_batch(shared):
    inside, runs = 0, 300
    for run in range(runs):
        g = torch.Generator().manual_seed(run)
        before = [torch.randn(32, generator=g).double() for _ in range(20)]
        common = shared * float(torch.randn(1, generator=g))
        # Each batch moves together, and all of them by what they have in common.
        after = [
            b
            + 0.3
            + common
            + 0.2 * float(torch.randn(1, generator=g))
            + 0.5 * torch.randn(32, generator=g)
            for b in before
        ]
        found = changed(before, after, shared).rise
        inside += found.low <= 0.3 <= found.high
    assert 0.92 <= inside / runs <= 0.99


def test_the_change_is_paired():
    torch.manual_seed(0)
    before = [1000 * torch.randn(16).double() for _ in range(12)]
    found = changed(before, [b + 0.5 for b in before])
    assert found.rise.value == pytest.approx(0.5)
    assert found.rise.noise < 1e-9
