"""Recalibration: the estimator, against values taken by hand in float64."""

import copy

import pytest
import torch
from torch import nn

import normscope
from normscope.errors import NormscopeError
from normscope.repairs import recalibrate
from repairs.models import Residual, inputs, mlp, random_states, seen_by, state_of


def norms_of(model):
    return [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


@pytest.mark.parametrize("precise", [False, True])
def test_mean_and_unbiased_variance_over_all_values_of_all_batches(precise):
    model, batches = mlp(), inputs(sizes=(50, 40, 6))
    seen = seen_by(model, batches, norms_of(model))
    recalibrate(model, batches, precise=precise)
    for norm, x in seen.items():
        torch.testing.assert_close(norm.running_mean.double(), x.mean(0), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(norm.running_var.double(), x.var(0), rtol=1e-6, atol=0)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_positions_count_as_values_in_any_layout(layout):
    model = Residual().to(memory_format=layout)
    batches = [
        torch.randn(b, 3, s, s).to(memory_format=layout) for b, s in ((8, 6), (3, 9), (5, 5))
    ]
    seen = seen_by(model, batches, norms_of(model))
    certificate = recalibrate(model, batches)
    for norm, x in seen.items():
        torch.testing.assert_close(norm.running_mean.double(), x.mean(0), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(norm.running_var.double(), x.var(0), rtol=1e-5, atol=0)
    assert {x.values for x in certificate.layers} == {8 * 36 + 3 * 81 + 5 * 25}


def test_more_calls_than_rows_are_pooled_in_parts():
    norm = nn.BatchNorm1d(3)
    parts = [5 + torch.randn(2 + i % 7, 3) for i in range(150)]
    recalibrate(norm, parts, samples=None)
    x = torch.cat(parts).double()
    torch.testing.assert_close(norm.running_mean.double(), x.mean(0), rtol=1e-6, atol=0)
    torch.testing.assert_close(norm.running_var.double(), x.var(0), rtol=1e-6, atol=0)
    assert int(norm.num_batches_tracked) == 150


@pytest.mark.parametrize(("precise", "variance", "mean"), [(False, 2e-4, 2e-3), (True, 1e-6, 6e-4)])
def test_a_mean_of_ten_thousand_deviations_costs_few_digits(precise, variance, mean):
    # float32 numbers near 1e4 are 1e-3 apart, and so are the means that a buffer can hold.
    norm = nn.BatchNorm1d(2)
    parts = [1e4 + torch.randn(64, 2) for _ in range(32)]
    recalibrate(norm, parts, precise=precise)
    x = torch.cat(parts).double()
    torch.testing.assert_close(norm.running_var.double(), x.var(0), rtol=variance, atol=0)
    torch.testing.assert_close(norm.running_mean.double(), x.mean(0), rtol=0, atol=mean)


def test_the_truth_of_known_data_is_met_within_its_standard_error():
    # x = 3 + 2 z: mean 3, variance 4; standard errors 2/√n and 4·√(2/n).
    norm = nn.BatchNorm1d(50)
    n = 10_000
    recalibrate(norm, [3 + 2 * torch.randn(100, 50) for _ in range(n // 100)])
    assert float(((norm.running_mean - 3) / (2 / n**0.5)).square().mean()) == pytest.approx(
        1, abs=0.6
    )
    assert float(((norm.running_var - 4) / (4 * (2 / n) ** 0.5)).square().mean()) == pytest.approx(
        1, abs=0.6
    )


def test_only_the_statistics_change_and_modes_momenta_flags_and_random_states_come_back():
    model = mlp().train()
    model[1].momentum, model[5].momentum = None, 0.37
    model[0].weight.requires_grad_(False)
    model[4].eval()
    calls = []
    model[1].register_forward_hook(lambda *_: calls.append(1))
    before, random_before = state_of(model), random_states()
    recalibrate(model, inputs())
    after = state_of(model)
    assert after[1:] == before[1:]
    assert random_states() == random_before
    changed = {k for k in before[0] if before[0][k] != after[0][k]}
    assert changed == {
        f"{i}.{b}" for i in (1, 5) for b in ("running_mean", "running_var", "num_batches_tracked")
    }
    assert calls  # hooks of the user's own ran


def test_the_counter_says_how_many_calls_stand_behind_the_statistics():
    # So that a cumulative average (momentum None) goes on with the right weight.
    model = nn.BatchNorm1d(2, momentum=None)
    parts = [torch.randn(10, 2) for _ in range(4)]
    recalibrate(model, parts)
    assert int(model.num_batches_tracked) == 4
    before, new = model.running_mean.clone(), 7 + torch.randn(10, 2)
    model.train()(new)
    torch.testing.assert_close(model.running_mean, before + (new.mean(0) - before) / 5)


def test_dropout_is_off():
    model, batches = mlp(dropout=0.7).train(), inputs()
    recalibrate(model, batches)
    other = copy.deepcopy(model)
    other[3].p = 0.0
    recalibrate(other, batches)
    assert torch.equal(model[5].running_var, other[5].running_var)


def test_a_shared_norm_pools_all_its_calls():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(2)

        def forward(self, x):
            return self.norm(x), self.norm(10 + 3 * x[: len(x) // 2])

    model, parts = Twice(), [torch.randn(20, 2) for _ in range(5)]
    certificate = recalibrate(model, parts)
    x = torch.cat([*parts, *(10 + 3 * p[:10] for p in parts)]).double()
    torch.testing.assert_close(model.norm.running_var.double(), x.var(0), rtol=1e-6, atol=0)
    assert certificate.layers[0].calls == 10
    assert any("several times" in w for w in certificate.warnings)


def test_statistics_that_were_not_numbers_are_replaced():
    model = mlp()
    model[1].running_mean.fill_(float("nan"))
    model[1].running_var.fill_(float("inf"))
    certificate = recalibrate(model, inputs())
    assert model[1].running_mean.isfinite().all()
    assert certificate.layers[0].mean_shift is None
    assert "were not numbers" in certificate.text()
    assert b"NaN" not in certificate.json()


def test_a_last_batch_of_one_sample_counts_nowhere():
    model, batches = mlp(), inputs()
    one = copy.deepcopy(model)
    recalibrate(model, batches)
    certificate = recalibrate(one, [*batches, 1e6 * torch.ones(1, 4)])
    assert torch.equal(model[1].running_mean, one[1].running_mean)
    assert torch.equal(model[5].running_var, one[5].running_var)
    assert any("1 batch left out" in w for w in certificate.warnings)


def test_a_batch_refused_by_a_later_layer_is_taken_back_from_the_earlier_ones():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.BatchNorm2d(3), nn.BatchNorm1d(3)

        def forward(self, x):
            return self.second(self.first(x).mean((2, 3)))

    batches = [
        torch.randn(8, 3, 4, 4),
        torch.full((1, 3, 4, 4), float("nan")),
        torch.randn(6, 3, 4, 4),
    ]
    model = Net()
    certificate = recalibrate(model, batches)
    assert [x.values for x in certificate.layers] == [14 * 16, 14]
    assert model.first.running_mean.isfinite().all()


def test_limits_on_samples_and_batches():
    batches = inputs()
    assert recalibrate(mlp(), batches, samples=40).samples == 64  # whole batches
    assert recalibrate(mlp(), batches, batches=1).samples == 32
    assert recalibrate(mlp(), batches, samples=None).samples == 96
    many = [torch.randn(1000, 4)] * 30
    assert recalibrate(mlp(), many).samples == 10_000


def test_inputs_of_the_users_own_stay_as_they_are():
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(4)

        def forward(self, x):
            return self.norm(x.mul_(2))

    batches = inputs()
    before = [x.clone() for x in batches]
    model = InPlace()
    recalibrate(model, batches)
    assert all(torch.equal(x, y) for x, y in zip(batches, before, strict=True))
    torch.testing.assert_close(model.norm.running_mean, 2 * torch.cat(batches).mean(0))


def test_containers_of_the_users_own_stay_as_they_are():
    batches = [{"image": x, "path": "a"} for x in inputs()]
    recalibrate(mlp(), batches, forward=lambda m, b: m(b.pop("image").mul_(2)))
    assert all(torch.equal(b["image"], x) for b, x in zip(batches, inputs(), strict=True))


def test_it_can_be_reached_from_the_package():
    model = nn.Sequential(nn.BatchNorm1d(3))
    assert normscope.recalibrate(model, [torch.ones(4, 3)]).layers[0].path == "0"
    assert model[0].running_mean.tolist() == [1, 1, 1]


def test_gradients_and_optimizers_go_on_after_it():
    model, batches = mlp().train(), inputs()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    recalibrate(model, batches)
    model(batches[0]).sum().backward()
    optimizer.step()
    assert model.training
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"samples": 0}, "`samples` was given as 0"),
        ({"batches": -1}, "`batches` was given as -1"),
        ({"keep": "best"}, "keep 'always' or 'better'"),
        ({"keep": "better"}, "needs a loss"),
        ({"layers": ["5x"]}, "`layers` names `5x`, which holds no batch norm"),
        ({"frozen": ["nope"]}, "`frozen` names `nope`"),
        ({"layers": [nn.Linear(1, 1)]}, "names a Linear"),
        ({"frozen": ["1", "5"]}, "No batch norm of `Sequential` is left"),
    ],
)
def test_what_cannot_be_meant_is_told_in_one_line(given, said):
    model = mlp()
    before = state_of(model)
    with pytest.raises(NormscopeError) as error:
        recalibrate(model, inputs(), **given)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert state_of(model) == before
