"""Statistics of other data against populations that are known."""

import pytest
import torch
from torch import nn

from normscope.errors import NormscopeError
from normscope.probes.setup import Setup, prepared
from normscope.probing import domain
from normscope.statistics import divergence
from probes.asking import mlp

MEAN, SD = 1.5, 2.0  # of the other data; those of training are 0 and 1


def cut(x, y=None, size=32):
    return [*x.split(size)] if y is None else [*zip(x.split(size), y.split(size), strict=True)]


def one_norm():
    """A batch norm whose running statistics are the training population's."""
    return nn.Sequential(nn.BatchNorm1d(8))


def ask(model=None, samples=1024, seconds=60.0, **facts):
    facts.setdefault("train", cut(torch.randn(2048, 8)))
    return domain.ask(prepared(Setup(model=model or one_norm(), **facts)), seconds, lambda _: None)[
        "domain"
    ]


def test_the_divergence_of_a_known_shift():
    other = cut(MEAN + SD * torch.randn(2048, 8))
    [shift] = ask(domains={"other": other}).shifts
    [layer] = shift.layers
    truth = float(divergence(MEAN, SD**2, 0.0, 1.0))
    assert layer.apart == pytest.approx(truth, rel=0.1)
    assert layer.divergence == pytest.approx(truth, rel=0.1)
    assert layer.largest >= layer.apart
    assert shift.samples == 2048
    assert shift.mixed


@pytest.mark.parametrize("samples", [128, 512, 2048])
def test_the_floor_is_what_sampling_explains(samples):
    """Two samples of n Gaussian values are 1/n + 1/n apart on average, running statistics and one of them 1/n."""
    apart, floor, divergences, floors = (torch.zeros(20) for _ in range(4))
    for run in range(20):
        torch.manual_seed(run)
        [shift] = ask(
            train=cut(torch.randn(samples, 8)), domains={"same": cut(torch.randn(samples, 8))}
        ).shifts
        [layer] = shift.layers
        apart[run], floor[run] = layer.apart, layer.apart_floor
        divergences[run], floors[run] = layer.divergence, layer.floor
    # The mean's part and the variance's: ½ · 2/n each.
    assert float(apart.mean()) == pytest.approx(2 / samples, rel=0.25)
    assert float(floor.mean()) == pytest.approx(2 / samples, rel=0.35)
    assert float(divergences.mean()) == pytest.approx(1 / samples, rel=0.3)
    assert float(floors.mean()) == pytest.approx(1 / samples, rel=0.3)
    assert float((apart > 3 * floor).float().mean()) == 0


def test_stale_statistics_are_no_shift():
    model = one_norm()
    model[0].running_mean.fill_(3.0)
    [shift] = ask(model, domains={"same": cut(torch.randn(1024, 8))}).shifts
    [layer] = shift.layers
    assert layer.divergence > 3
    assert layer.floor == pytest.approx(layer.divergence, rel=0.1)
    assert layer.apart < 3 * layer.apart_floor


def classifier():
    """Sign of feature 0 behind a norm with the training population's statistics."""
    model = nn.Sequential(nn.BatchNorm1d(8, affine=False), nn.Linear(8, 2, bias=False))
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].weight[:, 0] = torch.tensor([-4.0, 4.0])
    return model


def labelled(n, mean=0.0, flip=0.0):
    x = torch.randn(n, 8)
    y = (x[:, 0] > 0).long()
    return cut(x + mean, torch.where(torch.rand(n) < flip, 1 - y, y))


def test_the_gain_of_a_known_shift():
    """Moved by 1.5: those between −1.5 and 0 are taken for the other class, Φ(0) − Φ(−1.5) of all."""
    facts = {"loss": nn.CrossEntropyLoss(), "metric": lambda out, y: (out.argmax(1) == y).float()}
    [shift] = ask(
        classifier(), train=labelled(2048), domains={"moved": labelled(2048, 1.5)}, **facts
    ).shifts
    truth = 0.5 - 0.0668
    assert shift.error.before == pytest.approx(truth, abs=0.03)
    assert shift.error.after < 0.04
    assert shift.error.rise.low < -0.40 < shift.error.rise.high + 0.05
    assert shift.error_beside.before == pytest.approx(truth, abs=0.03)
    assert shift.loss.rise.value < -1
    assert shift.metric.before == pytest.approx(1 - shift.error.before)


def test_without_a_shift_re_estimating_gains_nothing():
    """Neither way is above three times its noise in 30 draws, and the interval holds 0 in most."""
    above = inside = 0
    for run in range(30):
        torch.manual_seed(run)
        [shift] = ask(
            classifier(),
            train=labelled(512, flip=0.1),
            domains={"same": labelled(512, flip=0.1)},
            loss=nn.CrossEntropyLoss(),
        ).shifts
        rise = shift.loss_beside.rise
        above += abs(rise.value) > 3 * rise.noise
        inside += rise.low <= 0 <= rise.high
    assert above == 0
    assert inside >= 26


def test_the_order_of_the_data_plays_no_part():
    """Sorted by class, batches would pin the statistics of the layers behind the first norm."""
    torch.manual_seed(3)
    x = torch.randn(1024, 8)
    y = (x[:, 0] > 0).long()
    order = y.argsort(stable=True)
    facts = {"train": cut(torch.randn(1024, 8), torch.zeros(1024).long())}
    model = mlp()
    [mixed] = ask(model, domains={"as drawn": cut(x, y)}, **facts).shifts
    [ordered] = ask(model, domains={"sorted": cut(x[order], y[order])}, **facts).shifts
    for one, other in zip(mixed.layers, ordered.layers, strict=True):
        assert other.apart < 3 * max(other.apart_floor, one.apart_floor)


def test_samples_that_cannot_be_mixed_stay_in_their_batches():
    class Pools(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(3)

        def forward(self, x):
            return self.norm(x)

    ragged = [torch.randn(32, 3, 4 + i % 3) for i in range(12)]
    [shift] = ask(Pools(), train=ragged, domains={"other": [r + 1 for r in ragged]}).shifts
    assert not shift.mixed
    assert shift.layers[0].apart > 10 * shift.layers[0].apart_floor


def test_held_out_data_come_first_and_small_sets_are_told():
    answer = ask(
        held_out=cut(torch.randn(256, 8)),
        domains={"tiny": [torch.randn(40, 8)], "other": cut(torch.randn(256, 8))},
    )
    assert [s.name for s in answer.shifts] == ["held_out", "other"]
    assert "`tiny`: it has 40 samples, but at least 64 are needed" in answer.missed


@pytest.mark.parametrize(
    ("model", "facts", "told"),
    [
        (None, {}, "neither `held_out` nor `domains`"),
        (nn.Sequential(nn.LayerNorm(8)), {"held_out": [torch.randn(99, 8)]}, "keeps running"),
        (None, {"held_out": [torch.randn(9, 8)]}, "at least 64"),
        (None, {"domains": [torch.randn(99, 8)]}, "loaders by name were expected"),
        (None, {"domains": {"fog": []}}, r"domains\['fog'\]"),
    ],
)
def test_what_cannot_be_asked_says_why(model, facts, told):
    with pytest.raises(NormscopeError, match=told):
        ask(model, **facts)
