"""How often the intervals that probes and recalibration report hold the truth: populations that are known, seeded draws.

| interval | test |
|---|---|
| batch_size: relative bias | test_gram.py, intervals hold the truth |
| batch_size: cosine, rank correlation and slope over depth | here |
| coupling: change by batch mates | test_mates.py, coverage of the interval over pairs |
| coupling: share of decisions that flip | here |
| coupling: leak; domain: error, loss, metric | test_intervals.py, paired change; test_domain.py and test_mates.py under the null; here under a shift |
| noise: observed error of mean and variance | test_batch_noise.py; here the variance's |
| regularization: effect of a few steps | test_regularization.py, paired differences |
| regularization: effect at once | here |
| gap: A, B, C, D and their differences, as standard errors | here; test_noise.py: C − B and B − A under the null |
| gap: C − B and B − A in shares of wrong decisions, as standard errors | here |
| gap: a layer's share | here |
| recalibrate: gain, as a standard error | here |
"""

import math
import statistics

import pytest
import torch
from torch import nn

from normscope.probes import gram
from normscope.probes.attribution import _share
from normscope.probes.by_depth import slope, spearman, trend
from normscope.probes.effects import immediate
from normscope.probes.gram import Gram
from normscope.probes.mates import in_evaluation, mates, pairs_of
from normscope.probes.setup import Setup, prepared
from normscope.probing import domain, gap
from normscope.repairs import recalibrate
from probes.test_batch_noise import measured

LOSS = nn.MSELoss()


def test_cosine():
    """Gradients of length 1 with an error d of known length at a right angle to them, and noise of sets and of mates."""
    sets, length, off, runs, held = 8, 40, 0.6, 150, 0
    many, all_sets = gram.resampled(sets, 300), gram.all_sets(sets)
    for _ in range(runs):
        g, d = torch.zeros(2, length, dtype=torch.float64)
        g[0], d[1] = 1.0, off
        noise = torch.randn(sets, length, dtype=torch.float64) * 0.3 / math.sqrt(length)
        whole = g + noise
        mates = torch.randn(sets, 2, length, dtype=torch.float64) * 0.5 / math.sqrt(length)
        products = Gram.of(whole, (whole + d)[:, None] + mates, [slice(0, length)])
        value = float(gram.cosine(products, all_sets))
        found = gram.interval(value, gram.cosine(products, many)[:, 0], sets, -1.0, 1.0)
        # The mean over sets still holds an eighth of their noise: in both gradients alike.
        rest = 0.3**2 / sets
        truth = (1 + rest) / math.sqrt((1 + rest) * (1 + rest + off**2))
        held += found.low <= truth <= found.high
    assert held >= 0.92 * runs


@pytest.mark.parametrize(
    "biases", [[0.5, 0.6, 0.7, 0.8, 0.9, 1.0], [0.6, 0.9, 0.5, 0.7, 1.0, 0.8]], ids=["climbing", "up and down"]
)  # fmt: skip
def test_slope_and_rank_over_depth(biases):
    sets, width, runs, held, ranked = 8, 40, 100, 0, 0
    truth = torch.tensor(biases, dtype=torch.float64)
    x = torch.linspace(0, 1, len(biases), dtype=torch.float64)
    expected = (truth.square() + 0.3**2 / sets).sqrt()  # what eight sets have in the mean
    slope_, rank_ = (float(f(x, expected[None])) for f in (slope, spearman))
    parts = [slice(width * i, width * i + width) for i in range(len(biases))]
    for _ in range(runs):
        g, d = torch.randn(2, len(biases), width, dtype=torch.float64)
        g = g / g.norm(dim=1, keepdim=True)
        d = d / d.norm(dim=1, keepdim=True) * truth[:, None]
        own, mates = (
            torch.randn(sets, n, g.numel(), dtype=torch.float64) / math.sqrt(width) for n in (1, 2)
        )
        whole = g.flatten().expand(sets, -1)
        cut = whole[:, None] + d.flatten() + 0.3 * own + 0.4 * mates
        rank, steep = trend(Gram.of(whole, cut, parts).with_total(), sets)
        held += steep.low <= slope_ <= steep.high
        ranked += rank.low <= rank_ + 1e-9 and rank.high >= rank_ - 1e-9
    assert held >= 0.9 * runs
    assert ranked >= 0.9 * runs


def test_effect_at_once_of_samples_that_share_their_batch():
    """An interval over samples alone would hold the truth in half of the cases."""
    held = narrow = 0
    runs = 300
    for run in range(runs):
        g = torch.Generator().manual_seed(run)
        on = [torch.randn(32, generator=g).double() for _ in range(20)]
        off = [
            a + 0.2 + 0.3 * float(torch.randn(1, generator=g)) + 0.5 * torch.randn(32, generator=g)
            for a in on
        ]
        found = immediate("dropout", on, off).change
        held += found.low <= 0.2 <= found.high
        rise = torch.cat(off) - torch.cat(on)
        narrow += abs(float(rise.mean()) - 0.2) <= 1.96 * float(rise.std()) / math.sqrt(len(rise))
    assert 0.92 <= held / runs <= 0.99
    assert narrow / runs < 0.75


def test_observed_error_of_a_variance():
    inside, runs, n = 0, 80, 16
    for run in range(runs):
        torch.manual_seed(run)
        [found] = measured([torch.randn(n, 16) for _ in range(40)])
        observed = found.var_observed
        inside += observed.low <= math.sqrt(2 / (n - 1)) <= observed.high
    assert 0.88 <= inside / runs <= 0.99


def test_share_of_a_layer():
    """Samples of which every one loses by stale statistics, and one layer alone gives back 70 % of it on average."""
    held, runs = 0, 200
    for run in range(runs):
        g = torch.Generator().manual_seed(run)
        best = torch.rand(400, generator=g).double()
        whole = 1 + torch.randn(400, generator=g).double()
        gained = 0.7 * whole + 0.3 * torch.randn(400, generator=g).double()
        _, low, high = _share(best + whole, best, best + whole - gained)
        held += low <= 0.7 <= high
    assert 0.92 <= held / runs <= 0.98


def normal(shift):
    """One channel of N(0, 1), target 0, and running statistics whose mean is off: C is 1 + shift², B is 1 but for sampling."""
    norm = nn.BatchNorm1d(1, affine=False, eps=1e-12)
    norm.running_mean.fill_(shift)
    return norm


def drawn(batches, size=50, spread=0.0):
    return [(torch.randn(size, 1), spread * torch.randn(size, 1)) for _ in range(batches)]


def within(value, noise, truth):
    return abs(value - truth) <= 1.96 * noise


@pytest.mark.parametrize("spread", [0.0, 2.0])
def test_every_reading_of_the_gap(spread):
    """One number each: 1.96 standard errors on either side hold the truth in 95 of 100 cases, or more, as errors are widened.

    With m and v of n other values, E[(x − m)² / v] = (1 + 1/n)(n − 1)/(n − 3); normalized by its own batch it is exactly 1.
    Without a spread of the targets it hardly varies at all, with one it does; what A has of it, B and C have, too.
    B − A stays wide: a batch's own second moment, which its statistics take out of A, counts as noise.
    """
    runs, shift, n = 150, 0.5, 300
    recomputed = (1 + 1 / n) * (n - 1) / (n - 3)
    truths = {
        "population": recomputed + spread**2,
        "running": 1 + shift**2 + spread**2,
        "held_out": 1 + shift**2 + spread**2,
        "stale": 1 + shift**2 - recomputed,
        "inconsistent": recomputed - 1,
        "generalization": 0.0,
    }
    readings = {name: [] for name in truths}
    for run in range(runs):
        torch.manual_seed(run)
        train, other = drawn(12, spread=spread), drawn(12, spread=spread)
        asked = prepared(Setup(model=normal(shift), train=train, held_out=other, loss=LOSS))
        found = gap.ask(asked, 60.0, lambda _: None)["gap"]
        assert spread or found.batch.value == pytest.approx(1.0, abs=1e-5)
        for name in truths:
            readings[name].append(getattr(found, name))
    for name, truth in truths.items():
        held = sum(within(r.value, r.noise, truth) for r in readings[name])
        assert held / runs >= 0.9, name
        if name != "inconsistent" and (spread or name != "population"):
            varies = statistics.stdev(r.value for r in readings[name])
            assert statistics.fmean(r.noise for r in readings[name]) < 1.4 * varies, name


def deciding(shift):
    """Says whether a value of N(0, 1) is above 0, behind a batch norm whose mean is off."""
    norm = nn.BatchNorm1d(1, affine=False)
    norm.running_mean.fill_(shift)
    model = nn.Sequential(norm, nn.Linear(1, 2, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[-4.0], [4.0]]))
    return model


def test_shares_of_wrong_decisions():
    """Of batches of n, normalized by themselves, x and x − m lie apart by the angle arccos √(1 − 1/n).

    By the running mean those between 0 and 1.5 are decided wrongly; by that of other samples those between 0 and its error.
    """
    runs, size, others, shift = 100, 50, 300, 1.5
    own = math.acos(math.sqrt(1 - 1 / size)) / math.pi
    recomputed = math.sqrt(2 / math.pi / others) / math.sqrt(2 * math.pi)
    running = 0.5 * math.erf(shift / math.sqrt(2))
    truths = {"stale_error": running - recomputed, "inconsistent_error": recomputed - own}
    readings = {name: [] for name in truths}
    for run in range(runs):
        torch.manual_seed(run)
        train = [(x, (x[:, 0] > 0).long()) for x, _ in drawn(12, size)]
        asked = prepared(Setup(model=deciding(shift), train=train, loss=nn.CrossEntropyLoss()))
        found = gap.ask(asked, 60.0, lambda _: None)["gap"]
        for name in truths:
            readings[name].append(getattr(found, name))
    for name, truth in truths.items():
        assert sum(within(r.value, r.noise, truth) for r in readings[name]) / runs >= 0.92, name
        varies = statistics.stdev(r.value for r in readings[name])
        assert statistics.fmean(r.noise for r in readings[name]) < 1.8 * varies, name


class Side(nn.Module):
    """Which side of the batch's mean a value is on: two independent values apart by half a turn flip in a known share of cases."""

    def forward(self, x):
        return torch.cat([x - x.mean(0), x.mean(0) - x], 1)


def test_share_of_flipped_decisions():
    """With half of N = 2K replaced, the means before and after correlate by ½, and each by 1/√N with a value that stayed.

    A decision flips where x − m and x − m' differ in sign: normal, of variance 1 − 1/N, covariance 1 − 2/N + 1/(2N).
    """
    size, runs, inside = 8, 40, 0
    turn = (1 - 2 / size + 1 / (2 * size)) / (1 - 1 / size)
    truth = math.acos(turn) / math.pi
    for run in range(runs):
        torch.manual_seed(run)
        batches = [(torch.randn(size, 1), torch.zeros(size, dtype=torch.long)) for _ in range(40)]
        asked = prepared(Setup(model=Side(), train=batches)).train
        row = mates(Side(), pairs_of(asked, size), in_evaluation)[-1]
        assert row.replaced == size // 2
        inside += row.flipped.low <= truth <= row.flipped.high
    assert inside / runs >= 0.85


def test_what_re_estimating_gains_under_a_shift():
    """Moved by 1.5, those between −1.5 and 0 are decided wrongly; behind re-estimated statistics those between 0 and their error."""
    runs, n, inside, errors = 40, 512, 0, 0
    model = deciding(0.0)
    # The mean of half of the samples is off by a normal deviation: E|d| = √(2/π) · √(2/n), at density φ(0).
    left = math.sqrt(2 / math.pi) * math.sqrt(2 / n) / math.sqrt(2 * math.pi)
    truth = left - (0.5 * math.erf(1.5 / math.sqrt(2)))
    for run in range(runs):
        torch.manual_seed(run)
        x = torch.randn(2, n, 1)
        y = (x[..., 0] > 0).long()
        train, other = (
            [*zip(a.split(32), b.split(32), strict=True)] for a, b in zip(x, y, strict=True)
        )
        moved = [(a + 1.5, b) for a, b in other]
        asked = prepared(
            Setup(model=model, train=train, domains={"moved": moved}, loss=nn.CrossEntropyLoss())
        )
        [found] = domain.ask(asked, 60.0, lambda _: None)["domain"].shifts
        rise = found.error.rise
        inside += rise.low <= truth <= rise.high
        errors += within(rise.value, rise.noise, truth)
    assert inside / runs >= 0.9
    assert errors / runs >= 0.9


def test_gain_of_a_recalibration():
    runs, held, shift = 60, 0, 0.5
    for run in range(runs):
        torch.manual_seed(run)
        score = recalibrate(normal(shift), drawn(12), loss=LOSS).score
        held += within(score.gain, score.noise, shift**2)
    assert held / runs >= 0.9
