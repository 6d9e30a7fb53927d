"""Relative bias and cosine from inner products: against definitions, against expected values, and how often intervals hold the truth."""

import pytest
import torch
from scipy import stats

from normscope.probes import gram
from normscope.probes.by_depth import slope, spearman, trend
from normscope.probes.gram import Gram


def vectors(sets, cuts, length, *, bias, sampling, mates, of_bias=0.0):
    """g_k and g_k + d_kr around a mean gradient of length 1; noises are lengths of one draw."""
    g = torch.zeros(length, dtype=torch.float64)
    g[0] = 1.0
    d = torch.zeros(length, dtype=torch.float64)
    d[1] = bias
    noise = length**-0.5
    whole = g + sampling * noise * torch.randn(sets, length, dtype=torch.float64)
    own = d + of_bias * noise * torch.randn(sets, 1, length, dtype=torch.float64)
    chance = mates * noise * torch.randn(sets, cuts, length, dtype=torch.float64)
    return whole, whole[:, None] + own + chance


def test_with_one_cut_it_is_the_definition():
    whole, cut = vectors(5, 1, 12, bias=0.4, sampling=0.5, mates=0.3)
    layers = [slice(0, 4), slice(4, 12)]
    products, one = Gram.of(whole, cut, layers).with_total(), gram.all_sets(5)
    for i, part in enumerate([*layers, slice(0, 12)]):
        g, other = whole[:, part].mean(0), cut[:, 0, part].mean(0)
        square = (other - g).square().sum() / g.square().sum()
        torch.testing.assert_close(gram.bias_squared(products, one)[0, i], square)
        angle = torch.nn.functional.cosine_similarity(g, other, dim=0)
        torch.testing.assert_close(gram.cosine(products, one)[0, i], angle)


def test_what_batch_mates_add_by_chance_is_taken_off():
    found, plain = [], []
    for _ in range(400):
        whole, cut = vectors(8, 2, 20, bias=0.3, sampling=0.0, mates=1.0)
        for cuts, into in ((cut, found), (cut[:, :1], plain)):
            into.append(gram.bias_squared(Gram.of(whole, cuts, [slice(0, 20)]), gram.all_sets(8)))
    found, plain = torch.stack(found).flatten(), torch.stack(plain).flatten()
    error = float(found.std()) / 20
    assert abs(float(found.mean()) - 0.09) < 3 * error
    assert float(plain.mean()) == pytest.approx(
        0.09 + 1 / 8, rel=0.1
    )  # without that, chance counts as bias


def test_noise_of_mates_is_told_against_that_of_samples():
    whole, cut = vectors(400, 2, 50, bias=0.2, sampling=0.5, mates=1.0)
    noise = Gram.of(whole, cut, [slice(0, 50)]).added_noise()
    assert float(noise[0]) == pytest.approx(1.0**2 / 0.5**2, rel=0.05)


@pytest.mark.parametrize(("bias", "sampling", "mates"), [(0.3, 0.5, 0.5), (1.0, 1.0, 2.0), (0.0, 1.0, 1.0)])  # fmt: skip
def test_intervals_hold_the_truth(bias, sampling, mates):
    sets, held, of_bias = 8, 0, 0.2 * bias
    truth = ((bias**2 + of_bias**2 / sets) / (1 + sampling**2 / sets)) ** 0.5
    many = gram.resampled(sets, 300)
    for _ in range(300):
        whole, cut = vectors(
            sets, 2, 30, bias=bias, sampling=sampling, mates=mates, of_bias=of_bias
        )
        products = Gram.of(whole, cut, [slice(0, 30)])
        value = float(gram.bias_squared(products, gram.all_sets(sets)))
        draws = gram.bias_squared(products, many)[:, 0]
        found = gram.root(gram.interval(value, draws, sets, -torch.inf, torch.inf))
        held += found.low <= truth <= found.high
    assert held >= 0.9 * 300


@pytest.mark.parametrize("sets", [2, 5, 8, 16])
def test_students_quantiles(sets):
    assert gram.student(sets) == pytest.approx(stats.t.ppf(0.975, sets - 1), abs=1e-3)


def test_rank_correlation_and_slope_are_those_of_scipy():
    x = torch.linspace(0, 1, 7, dtype=torch.float64)
    y = torch.randn(5, 7, dtype=torch.float64)
    y[0, 3] = y[0, 5]  # a tie
    for row, rank, steep in zip(y, spearman(x, y), slope(x, y), strict=True):
        assert float(rank) == pytest.approx(stats.spearmanr(x, row).statistic)
        assert float(steep) == pytest.approx(stats.linregress(x, row).slope)
    assert float(spearman(x, torch.ones(1, 7, dtype=torch.float64))) == 0.0


def test_depth_is_judged_without_layers_that_have_no_gradient():
    sets, layers = 8, [slice(10 * i, 10 * i + 10) for i in range(6)]
    whole = torch.ones(sets, 60, dtype=torch.float64) + 0.01 * torch.randn(sets, 60).double()
    growing = torch.arange(6).repeat_interleave(10) / 10
    cut = (whole * (1 + growing))[:, None].repeat(1, 2, 1)
    whole[:, layers[2]] *= 1e-9
    cut[:, :, layers[2]] = 0.0  # a relative bias of 1, of nothing
    rank, steep = trend(Gram.of(whole, cut, layers).with_total(), sets)
    assert rank.value == pytest.approx(1.0)
    assert steep.value == pytest.approx(0.5, rel=0.01)  # from 0 to 0.5 over the depth
    assert trend(Gram.of(whole, cut, layers[:3]).with_total(), sets) == (None, None)
