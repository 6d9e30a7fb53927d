"""Momentum, scales and weight decay: what a repair sets, and what it leaves alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from normscope.errors import NormscopeError
from normscope.repairs.gamma_reset import reset_gamma
from normscope.repairs.momentum import set_momentum
from normscope.repairs.weight_decay import weight_decay_groups


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 5), nn.LayerNorm(5)
    )


def test_momentum_is_set_and_the_outputs_stay():
    model = net().eval()
    repaired, certificate = set_momentum(model, 0.01)
    assert repaired[1].momentum == 0.01
    assert model[1].momentum == 0.1
    x = torch.randn(3, 4)
    assert torch.equal(repaired(x), model(x))
    assert "0.1 → 0.01" in certificate.done
    assert "459 updates" in certificate.done


@pytest.mark.parametrize(("factor", "momentum"), [(8, 0.570), (0.5, 0.0513), (1, 0.1)])
def test_the_window_is_kept_when_the_batch_changes(factor, momentum):
    repaired, _ = set_momentum(net(), batch_factor=factor)
    assert repaired[1].momentum == pytest.approx(momentum, abs=5e-4)


def test_a_window_in_samples_is_the_same_by_simulation():
    """Running means of batches of 8 with α, and of 32 with the scaled α, vary alike about the mean."""
    generator = torch.Generator().manual_seed(0)
    wide = set_momentum(nn.BatchNorm1d(2000, momentum=0.05), batch_factor=4)[0]
    narrow = nn.BatchNorm1d(2000, momentum=0.05)
    for _ in range(200):
        x = torch.randn(32, 2000, generator=generator)
        wide(x)
        for part in x.split(8):
            narrow(part)
    spread = [float(m.running_mean.std()) for m in (wide, narrow)]
    assert spread[0] == pytest.approx(spread[1], rel=0.05)


def test_a_cumulative_average_has_no_window():
    model = nn.Sequential(nn.BatchNorm1d(3, momentum=None))
    repaired, certificate = set_momentum(model, batch_factor=2)
    assert repaired[0].momentum is None
    assert "no window" in certificate.left[0].reason


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({}, "either the new momentum or"),
        ({"momentum": 0.1, "batch_factor": 2.0}, "and not both"),
        ({"momentum": 0.0}, "above 0 and at most 1"),
        ({"momentum": 1.5}, "above 0 and at most 1"),
        ({"batch_factor": 0.0}, "batch factor above 0"),
    ],
)
def test_what_no_momentum_is(words, told):
    with pytest.raises(NormscopeError, match=told):
        set_momentum(net(), **words)


def test_scales_are_reset_and_shifts_stay():
    model = net()
    with torch.no_grad():
        model[1].weight.fill_(0.02)
        model[1].bias.fill_(3.0)
    repaired, certificate = reset_gamma(model, torch.randn(8, 4))
    assert repaired[1].weight.eq(1).all()
    assert repaired[1].bias.eq(3).all()
    assert certificate.kind == "changes-function"
    assert certificate.done == "set the scale of 1 norm layers to 1 (1)"
    assert certificate.differences[0].distance > 0.1
    assert model[1].weight.eq(torch.tensor(0.02)).all()


def test_only_the_named_scales_are_reset():
    model = net()
    with torch.no_grad():
        model[1].weight.fill_(2.0)
        model[4].weight.fill_(2.0)
    repaired, _ = reset_gamma(model, layers=("4",))
    assert repaired[1].weight.eq(2).all()
    assert repaired[4].weight.eq(1).all()
    with pytest.raises(NormscopeError, match="named `9`"):
        reset_gamma(model, layers=("9",))


def test_norms_and_biases_are_not_decayed_and_nothing_is_lost():
    model = net()
    model[3].weight.requires_grad_(False)
    groups = weight_decay_groups(model, 0.1)
    assert [g["weight_decay"] for g in groups] == [0.1, 0.0]
    assert [p is model[0].weight for p in groups[0]["params"]] == [True]
    wanted = [
        model[0].bias,
        model[1].weight,
        model[1].bias,
        model[3].bias,
        model[4].weight,
        model[4].bias,
    ]
    assert [id(p) for p in groups[1]["params"]] == [id(p) for p in wanted]


def test_a_step_moves_a_scale_by_its_gradient_alone():
    model = net()
    before = model[1].weight.detach().clone()
    optimizer = torch.optim.SGD(weight_decay_groups(model, 0.5), lr=1.0)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    weight = model[0].weight.detach().clone()
    optimizer.step()
    assert torch.equal(model[1].weight, before)
    torch.testing.assert_close(model[0].weight.detach(), 0.5 * weight)


def test_a_scale_of_several_dimensions_is_a_norms_all_the_same():
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.LayerNorm([2, 4, 4]))
    assert len(weight_decay_groups(model, 0.1)[0]["params"]) == 1


def test_shared_parameters_stand_once():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    groups = weight_decay_groups(model, 0.1)
    assert [len(g["params"]) for g in groups] == [1, 2]


@pytest.mark.parametrize(("model", "decay"), [(net(), -1.0), (nn.ReLU(), 0.1)])
def test_what_cannot_be_grouped_is_told(model, decay):
    with pytest.raises(NormscopeError):
        weight_decay_groups(model, decay)
