"""Networks side by side are what each of them is alone, and the optimizers are PyTorch's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from normscope.lab import networks
from normscope.lab.members import Members
from normscope.lab.optimizing import Optimizer
from normscope.lab.training import Run, tuned

CELL = {"seeds": [0, 1], "rates": [0.3, 0.03], "epochs": 1, "batch": 32}


def mlp(kind):
    return lambda members: networks.mlp(members, (64, 16, 16, 10), kind=kind)


@pytest.mark.parametrize("kind", ["batch", "group", "layer", "none"])
def test_a_member_is_what_it_is_alone(kind, digits):
    many = tuned(CELL, digits, mlp(kind))
    alone = tuned({**CELL, "seeds": [1], "rates": [0.03]}, digits, mlp(kind))
    place = many["rates"].index(0.03)
    assert many["test_by_rate"][place][1] == pytest.approx(alone["test"][0], abs=0.6)


def test_the_same_seeds_give_the_same_numbers(digits):
    assert tuned(CELL, digits, mlp("batch")) == tuned(CELL, digits, mlp("batch"))
    assert tuned(CELL, digits, mlp("batch")) != tuned(
        {**CELL, "seeds": [2, 3]}, digits, mlp("batch")
    )


def test_batch_norm_treats_members_apart():
    """PyTorch's layer on one member's channels alone."""
    members = Members([0, 1, 2])
    layer = networks.norm("batch", members, 5)
    x = torch.randn(8, 15, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(layer(x)[:, 5:10], nn.BatchNorm1d(5)(x[:, 5:10]), atol=1e-6)


def test_layer_norm_is_over_the_channels_of_a_member():
    members = Members([0, 1])
    x = torch.randn(8, 12, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(
        networks.norm("layer", members, 6)(x)[:, 6:], nn.LayerNorm(6)(x[:, 6:]), atol=1e-5
    )


def test_a_convolution_is_pytorchs():
    members = Members([0, 1])
    layer = networks.Conv(members, 2, 3)
    x = torch.randn(4, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    alone = nn.functional.conv2d(x[:, 2:], layer.weight[1], padding=1)
    assert torch.allclose(layer(x)[:, 3:], alone, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "decay"), [("sgd", 0.0), ("sgd", 0.1), ("adamw", 0.0), ("adamw", 0.1)]
)
def test_the_optimizers_are_pytorchs(name, decay):
    def model():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))

    ours, theirs = model(), model()
    mine = Optimizer(ours, torch.tensor([0.05]), name=name, weight_decay=decay)
    kinds = {
        "sgd": lambda p: torch.optim.SGD(p, 0.05, 0.9, weight_decay=decay),
        "adamw": lambda p: torch.optim.AdamW(p, 0.05, weight_decay=decay),
    }
    other = kinds[name](theirs.parameters())
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(1))
    for _ in range(5):
        for network in (ours, theirs):
            network(x).square().mean().backward()
        mine.step()
        other.step()
        other.zero_grad()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(p, q, atol=1e-6)


def test_validation_and_test_images_are_never_trained_on(digits):
    run = Run(CELL, digits, mlp("none"))
    parts = [
        set(part[0].tolist()) for part in (run.splits.train, run.splits.validation, run.splits.test)
    ]
    assert sum(map(len, parts)) == len(set.union(*parts)) == len(digits.labels)
    drawn = torch.cat(run.batches(), 1)[0].tolist()
    assert set(drawn) == parts[0]


def test_the_learning_rate_is_chosen_on_validation_images(digits):
    numbers = tuned({**CELL, "epochs": 2}, digits, mlp("batch"))
    best = max(range(2), key=numbers["validation_by_rate"].__getitem__)
    assert numbers["rate"] == numbers["rates"][best]
    assert numbers["test"] == numbers["test_by_rate"][best]


def test_recomputed_statistics_are_those_of_the_training_images(digits):
    run = Run({**CELL, "rates": [0.1], "seeds": [0]}, digits, mlp("batch"))
    run.train()
    run.recompute()
    inputs, _ = run.batch(run.splits.train)
    with torch.no_grad():
        raw = run.network[0](inputs)
    assert torch.allclose(run.network[1].running_mean, raw.mean(0), atol=1e-4)
    assert run.network[1].momentum == 0.1
