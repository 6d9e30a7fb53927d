"""Norm layers are exchanged wherever they are held, or the arm says why it cannot be tried."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.nn import BatchRenorm, FrozenBatchNorm, GhostBatchNorm
from normscope.trials.torch.first_batch import FirstBatchMap
from trials.running import FEATURES, data, fit, net, plain, under

ARMS = {
    "group": nn.GroupNorm,
    "layer": nn.GroupNorm,
    "renorm": BatchRenorm,
    "ghost:4": GhostBatchNorm,
    "none": FirstBatchMap,
}


def images(norm: type[nn.Module] = nn.BatchNorm2d) -> nn.Sequential:
    return nn.Sequential(
        nn.Unflatten(1, (1, 4, 4)),
        nn.Conv2d(1, 8, 3, padding=1),
        norm(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(128, 2),
    )


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), 0.1)


@pytest.mark.parametrize(("arm", "kind"), ARMS.items(), ids=ARMS)
def test_the_layer_becomes_what_the_arm_says_and_learns(arm, kind):
    kept: list[nn.Module] = []

    def train() -> float:
        torch.manual_seed(0)
        model = net()
        optimizer = sgd(model)
        kept[:] = [model]
        before = model[1].weight.detach().clone()
        loss = fit(model, optimizer)
        assert not torch.equal(before, model[1].weight), "its scale is in the optimizer"
        return loss

    run = under(arm, train, steps=9)
    assert (run.status, run.exchanged) == ("finished", 1)
    assert type(kept[0][1]).__mro__.count(kind)
    assert run.metric != under("as-is", train).metric


def test_without_an_arm_nothing_is_exchanged():
    assert under("as-is", plain).exchanged == 0
    assert under("as-is", plain).metric == under("lr:x1", plain).metric


def test_instance_norm_for_images():
    def train() -> float:
        model = images()
        loss = fit(model, sgd(model))
        assert model[2].num_groups == 8
        return loss

    assert under("instance", train).exchanged == 1


def test_instance_norm_would_erase_single_values():
    run = under("instance", plain)
    assert run.status == "not-applicable"
    assert "1 value somewhere" in run.reason


def test_groups_fit_channels_and_values():
    def train() -> float:
        model = net()
        loss = fit(model, sgd(model))
        assert model[1].num_groups == 2  # 16 channels of one value each, 8 values in a group
        return loss

    assert under("group", train).status == "finished"


def test_norms_in_plain_lists_and_a_second_container():
    def train() -> float:
        norms = [nn.BatchNorm1d(8), nn.BatchNorm1d(8)]
        table = {"again": norms[1]}
        layers = nn.ModuleList([nn.Linear(FEATURES, 8), nn.Linear(8, 8), nn.Linear(8, 2)])
        parameters = [*layers.parameters(), *(p for n in norms for p in n.parameters())]
        optimizer = torch.optim.SGD(parameters, 0.1)
        x, y = data()
        for _ in range(3):
            h = torch.relu(norms[0](layers[0](x)))
            h = torch.relu(table["again"](layers[1](h)))
            loss = nn.functional.cross_entropy(layers[2](h), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert not any(isinstance(n, _BatchNorm) for n in norms)
        return loss.item()

    assert under("group", train).exchanged == 2


@pytest.mark.parametrize("early", [True, False], ids=["before the optimizer", "after it"])
def test_a_moving_average_of_the_model(early):
    def train() -> float:
        torch.manual_seed(0)
        model = net()
        average = copy.deepcopy(model) if early else None
        optimizer = sgd(model)
        average = average or copy.deepcopy(model)
        loss = fit(model, optimizer)
        with torch.no_grad():
            for mine, its in zip(average.parameters(), model.parameters(), strict=True):
                mine.lerp_(its, 0.5)
        assert torch.isfinite(average.eval()(data()[0])).all()
        assert isinstance(average[1], nn.GroupNorm)
        return loss

    assert under("group", train).status == "finished"


def test_several_optimizers_and_a_model_that_is_built_late():
    def train() -> float:
        one = net()
        first = sgd(one)
        fit(one, first)
        two = net()
        loss = fit(two, sgd(two))
        assert isinstance(two[1], nn.GroupNorm)
        return loss

    assert under("group", train).exchanged == 2


def test_hand_written_descent():
    def train() -> float:
        torch.manual_seed(0)
        model = net()
        x, y = data()
        for _ in range(5):
            loss = nn.functional.cross_entropy(model(x), y)
            model.zero_grad()
            loss.backward()
            with torch.no_grad():
                for p in model.parameters():
                    p -= 0.1 * p.grad
        return loss.item()

    assert under("group", train).exchanged == 1
    assert under("lr:x0.1", train).status == "not-applicable"


@pytest.mark.parametrize("arm", ["group", "none", "renorm", "ghost:4"])
def test_a_checkpoint_of_the_batch_norm_loads_after_the_exchange(arm):
    saved = net().state_dict()
    saved["1.weight"] += 1

    def train() -> float:
        model = net()
        optimizer = sgd(model)
        model.load_state_dict(saved)
        assert torch.equal(model[1].weight, saved["1.weight"])
        return fit(model, optimizer)

    assert under(arm, train).status == "finished"


@pytest.mark.parametrize("arm", ARMS)
def test_evaluation_and_copies(arm):
    """In evaluation, and where a batch is too small for ghosts, our layers compute as PyTorch's do; a copy of one stays what it is."""

    def train() -> float:
        model = net()
        optimizer = sgd(model)
        fit(model, optimizer)
        twin = copy.deepcopy(model)
        fit(model, optimizer)
        x = data()[0]
        assert torch.isfinite(model.eval()(x)).all()
        assert not torch.equal(model(x), twin.eval()(x))
        assert type(twin[1]) is ARMS[arm] or issubclass(type(twin[1]), ARMS[arm])
        return model.train()(x[:2]).sum().item()

    run = under(arm, train)
    assert run.status == "finished", run.reason
    assert run.exchanged == 1


@pytest.mark.parametrize("arm", [*ARMS, "instance:images", "frozen-tail:0.5"])
def test_a_fresh_model_loads_what_an_exchanged_one_saved(arm):
    """As scripts do that keep the best weights, and evaluate or go on in a model built anew."""

    def train() -> float:
        build = images if "images" in arm else net
        model = build()
        fit(model, sgd(model))
        anew = build()
        anew.load_state_dict(model.state_dict())
        x = data()[0]
        for mode in (False, True) if arm == "none" else (False,):
            expected, found = model.train(mode)(x), anew.train(mode)(x)
            assert torch.equal(expected, found), "it computes the same"
        return fit(anew, sgd(anew))

    run = under(arm.partition(":images")[0], train, steps=6)
    assert run.status == "finished", run.reason
    assert run.exchanged == (1 if "tail" in arm else 2)


class Activated(nn.BatchNorm1d):
    """Batch norm with an activation of its own, as some libraries fuse them."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.act = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(super().forward(x))


def test_a_fused_activation_stays_and_its_checkpoint_loads():
    saved = Activated(8).state_dict()

    def train() -> float:
        model = nn.Sequential(nn.Linear(FEATURES, 8), Activated(8), nn.Linear(8, 2))
        optimizer = sgd(model)
        model[1].load_state_dict(saved)
        loss = fit(model, optimizer)
        assert (model[1](model[0](data()[0])) >= 0).all()
        return loss

    assert under("group", train).exchanged == 1


class Doubled(nn.BatchNorm1d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


def test_a_layer_that_computes_more_is_not_exchanged():
    def train() -> float:
        model = nn.Sequential(nn.Linear(FEATURES, 8), Doubled(8), nn.Linear(8, 2))
        return fit(model, sgd(model))

    run = under("group", train)
    assert run.status == "not-applicable"
    assert "computes more than batch norm" in run.reason


@pytest.mark.parametrize("arm", ["group", "none", "renorm", "ghost:4", "momentum:0.5"])
def test_batch_norm_as_a_function(arm):
    def train() -> float:
        model = nn.Linear(FEATURES, 2)
        norm = nn.BatchNorm1d(2)  # there is a layer, too, but the function cannot be reached
        optimizer = torch.optim.SGD([*model.parameters(), *norm.parameters()], 0.1)
        x, y = data()
        z = nn.functional.batch_norm(model(x), None, None, training=True)
        loss = nn.functional.cross_entropy(norm(z), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    run = under(arm, train)
    assert run.status == "not-applicable"
    assert "as a function" in run.reason


def test_no_batch_norm_at_all():
    def train() -> float:
        model = nn.Sequential(nn.Linear(FEATURES, 8), nn.LayerNorm(8), nn.Linear(8, 2))
        return fit(model, sgd(model))

    for arm in ("group", "none", "momentum:0.5", "frozen-tail"):
        run = under(arm, train, steps=9)
        assert run.status == "not-applicable"
        assert "batch norm" in run.reason


def test_statistics_stand_still_in_the_tail():
    seen: list[torch.Tensor] = []

    def train() -> float:
        model = net()
        optimizer = sgd(model)
        x, y = data()
        for _ in range(10):
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen.append(model[1].running_mean.clone())
        assert isinstance(model[1], FrozenBatchNorm)
        return loss.item()

    run = under("frozen-tail:0.3", train, steps=10)
    assert (run.status, run.exchanged, run.steps) == ("finished", 1, 10)
    moved = [not torch.equal(a, b) for a, b in pairwise(seen)]
    assert moved == [True] * 6 + [False] * 3
    assert under("frozen-tail", train, steps=None).status == "not-applicable"


def test_momentum_of_every_layer_also_later_ones():
    def train() -> float:
        model = net()
        optimizer = sgd(model)
        late = nn.BatchNorm1d(2)
        loss = fit(nn.Sequential(model, late), optimizer)
        assert (model[1].momentum, late.momentum) == (0.25, 0.25)
        return loss

    assert under("momentum:0.25", train).changed == 2


def test_others_models_are_left_alone():
    mine = net()
    under("group", plain)
    assert isinstance(mine[1], nn.BatchNorm1d)
    assert type(nn.BatchNorm1d(2)) is nn.BatchNorm1d
