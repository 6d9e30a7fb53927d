"""A, B and C where each can be computed by hand, and the models and states that must not break the probe."""

import math

import pytest
import torch
from torch import nn

from normscope.errors import NormscopeError
from normscope.probes import thresholds
from probes.asking import ask, cut, kept, mlp, recalibrate


def mean_square(x, mean, var):
    return ((x - mean) ** 2 / var).mean().item()


def test_by_hand():
    """One channel, target 0: the loss is the mean square of what the norm returns."""
    norm = nn.BatchNorm1d(1, affine=False, eps=1e-12)
    norm.running_mean.fill_(2.0)
    norm.running_var.fill_(0.25)
    model = nn.Sequential(norm)
    x = [5 * i + torch.randn(50, 1, dtype=torch.float64) for i in range(4)]
    batches = [kept(b.float(), torch.zeros(50, 1), "mse_loss") for b in x]
    gap = ask(model, batches).gap
    halves = torch.cat([x[0], x[3]]), torch.cat([x[1], x[2]])
    crosswise = [mean_square(halves[i], halves[1 - i].mean(), halves[1 - i].var()) for i in (0, 1)]
    assert gap.measure == "loss"
    assert gap.batch.value == pytest.approx(1.0, rel=1e-5)
    assert gap.population.value == pytest.approx(sum(crosswise) / 2, rel=1e-5)
    assert gap.running.value == pytest.approx(mean_square(torch.cat(x), 2.0, 0.25), rel=1e-5)
    assert gap.stale.value == pytest.approx(gap.running.value - gap.population.value)
    assert gap.inconsistent.value == pytest.approx(gap.population.value - gap.batch.value)


def test_bfloat16_model():
    model = mlp().bfloat16()
    x, y = torch.randn(256, 8, dtype=torch.bfloat16), torch.randint(0, 3, (256,))
    recalibrate(model, x)
    gap = ask(model, cut(x, y, 32)).gap
    assert gap.stale.value == pytest.approx(0, abs=0.02)
    assert all(layer.mean_shift < 0.05 for layer in gap.layers)


def test_dropout_is_off():
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.9), nn.Linear(4, 2))
    x, y = torch.randn(64, 4), torch.randint(0, 2, (64,))
    recalibrate(model[0], x)
    first, second = (ask(model, cut(x, y, 32)).gap for _ in range(2))
    assert first == second


def test_statistics_that_are_not_numbers_are_told_as_such():
    model, x, y = mlp(), torch.randn(96, 8), torch.randint(0, 3, (96,))
    model[1].running_var[2] = math.nan
    answer = ask(model, cut(x, y, 32))
    gap = answer.gap
    assert math.isnan(gap.running.value)
    assert math.isnan(gap.stale.value)
    assert gap.error_running == 1.0  # what is not a number decides nothing
    assert math.isnan(gap.layers[0].log_sd)
    assert math.isfinite(gap.population.value)
    assert all(var.isfinite().all() for _, var in answer.population.values())
    assert not thresholds.calm(gap)


def test_lazy_layers():
    model = nn.Sequential(nn.LazyLinear(6), nn.LazyBatchNorm1d(), nn.ReLU(), nn.Linear(6, 2))
    model.spare = nn.LazyBatchNorm1d()  # never reached
    model.forward = lambda x: model[3](model[2](model[1](model[0](x))))
    x, y = torch.randn(64, 4), torch.randint(0, 2, (64,))
    model(x)
    assert [layer.path for layer in ask(model, cut(x, y, 16)).gap.layers] == ["1"]
    assert isinstance(model.spare.running_mean, nn.parameter.UninitializedBuffer)


def test_layers_that_training_kept_frozen_stay_as_they_are():
    model = mlp()
    frozen = model[1]
    frozen.running_mean.fill_(3.0)
    x, y = torch.randn(128, 8), torch.randint(0, 3, (128,))
    answer = ask(model, cut(x, y, 32), frozen={frozen})
    assert [layer.path for layer in answer.gap.layers] == ["4"]
    with pytest.raises(NormscopeError, match="never used batch statistics"):
        ask(model, cut(x, y, 32), frozen={frozen, model[4]})


def test_a_wrapper_is_taken_off():
    model, x, y = mlp(), torch.randn(64, 8), torch.randint(0, 3, (64,))
    wrapped = nn.DataParallel(model)
    wrapped.forward = lambda *_: pytest.fail("the wrapper ran")
    assert ask(wrapped, cut(x, y, 32)).gap.batches == 2


def test_halves_balance_batches_that_alternate():
    """Two kinds of batches in turn: halves of one kind each would call any healthy network inconsistent."""
    norm = nn.BatchNorm1d(1, affine=False)
    x = torch.cat([torch.randn(40, 1) + 4 * (i % 2) for i in range(8)])
    recalibrate(norm, x)
    gap = ask(nn.Sequential(norm), cut(x, torch.zeros_like(x), 40, "mse_loss")).gap
    assert abs(gap.stale.value) < 0.05


@pytest.mark.parametrize(
    ("model", "batches", "reason"),
    [
        (nn.Linear(8, 3), 4, "no batch norm"),
        (mlp(), 1, "fewer than two"),
        (nn.ModuleDict({"a": nn.BatchNorm1d(8)}), 4, "none of the kept batches reached"),
    ],
)
def test_what_cannot_be_asked_is_told(model, batches, reason):
    if isinstance(model, nn.ModuleDict):
        model.forward = lambda x: x
    x, y = torch.randn(16 * batches, 8), torch.zeros(16 * batches, dtype=torch.long)
    with pytest.raises(NormscopeError, match=reason):
        ask(model, cut(x, y, 16))


def test_batches_that_met_another_loss_are_left_out():
    model, x, y = mlp(), torch.randn(96, 8), torch.randint(0, 3, (96,))
    odd = kept(x[:32], torch.zeros(32, 3), "mse_loss")
    gap = ask(model, [odd, *cut(x, y, 32), kept(x[:32])]).gap
    assert (gap.batches, gap.unit) == (3, "nats")


def test_a_model_is_asked_about_what_it_was_trained_on_last():
    """Running statistics of the last data are right for it, whatever the first data were."""
    norm = nn.BatchNorm1d(1, affine=False)
    first, last = 5 + torch.randn(1000, 1), torch.randn(1000, 1)
    recalibrate(norm, last)
    batches = cut(torch.cat([first, last]), torch.zeros(2000, 1), 100, "mse_loss")
    for step, batch in enumerate(batches):
        batch.step = step
    gap = ask(nn.Sequential(norm), batches).gap
    assert gap.batches == 10
    assert abs(gap.stale.value) < 0.05
    assert abs(gap.inconsistent.value) < 0.1


def pictures(sizes):
    """One batch of 20 for each size, in that order."""
    made = [kept(torch.randn(20, 1, n, n), torch.randn(20, 1, n, n), "mse_loss") for n in sizes]
    for step, batch in enumerate(made):
        batch.step = step
    return made


@pytest.mark.parametrize(
    ("sizes", "asked"),
    [
        (
            [8, 8, 8, 12, 12, 12, 16, 16, 16],
            3,
        ),  # growing: only the last size is what it was trained for
        ([8, 12, 8, 12, 8, 12], 6),  # several scales at a time
        ([8, 8, 8, 8, 8, 16], 6),  # one batch of the last size cannot be judged by
    ],
)
def test_pictures_that_grow_are_asked_about_in_their_last_size(sizes, asked):
    model = nn.Sequential(nn.BatchNorm2d(1))
    assert ask(model, pictures(sizes)).gap.batches == asked
