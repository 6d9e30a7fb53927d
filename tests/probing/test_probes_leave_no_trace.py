"""Every probe leaves the model as it was, bit for bit: answered, refused by the user's own code, or interrupted."""

from __future__ import annotations

import random
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from normscope.probes.setup import Setup, prepared
from normscope.probing.questions import QUESTIONS

NAMES = [*QUESTIONS]


class Net(nn.Module):
    """Raises at the forward that it is told to."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3)
        )
        self.body[2].eval()  # a mode of its own
        self.made, self.fails_at, self.raises = [], None, RuntimeError  # a list is not restored

    def forward(self, x):
        self.made.append(len(x))
        if len(self.made) == self.fails_at:
            raise self.raises("in the middle")
        return self.body(x)


def setup():
    torch.manual_seed(0)
    model = Net()
    data = [(torch.randn(32, 8), torch.randint(0, 3, (32,))) for _ in range(8)]
    nn.functional.cross_entropy(model(data[0][0]), data[0][1]).backward()
    return Setup(
        model=model,
        train=data,
        held_out=data[:4],
        domains={"other": [(x + 1, y) for x, y in data]},
        loss=nn.CrossEntropyLoss(),
    )


def state(model):
    tensors = [*model.state_dict().values(), *(p.grad for p in model.parameters())]
    hooks = [
        len(h)
        for m in model.modules()
        for h in (m._forward_hooks, m._forward_pre_hooks, m._backward_hooks)
    ]
    flags = [(m.training, getattr(m, "momentum", None)) for m in model.modules()]
    return (
        [t.clone() for t in tensors],
        [p.requires_grad for p in model.parameters()],
        hooks,
        flags,
        torch.is_grad_enabled(),
        random.getstate(),
        str(np.random.get_state()),
        torch.get_rng_state(),
    )


def same(one, other):
    return (
        all(torch.equal(a, b) for a, b in zip(one[0], other[0], strict=True))
        and one[1:-1] == other[1:-1]
        and torch.equal(one[-1], other[-1])
    )


@cache
def forwards(name):
    """How many forward passes the probe makes."""
    asked = prepared(setup())
    QUESTIONS[name].ask(asked, 60.0, lambda _: None)
    return len(asked.model.made)


@pytest.mark.parametrize("name", NAMES)
def test_answered(name):
    asked = prepared(setup())
    before = state(asked.model)
    answers = QUESTIONS[name].ask(asked, 60.0, lambda _: None)
    assert answers
    assert same(before, state(asked.model))


@pytest.mark.parametrize("raises", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("share", [0.1, 0.4, 0.7, 0.98])
@pytest.mark.parametrize("name", NAMES)
def test_stopped_in_the_middle(name, share, raises):
    asked = prepared(setup())
    asked.model.fails_at, asked.model.raises = max(2, int(share * forwards(name))), raises
    before = state(asked.model)
    with pytest.raises(raises, match="in the middle"):
        QUESTIONS[name].ask(asked, 60.0, lambda _: None)
    assert same(before, state(asked.model))


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_left_alone(name):
    made = setup()
    before = [x.clone() for x, _ in made.train]
    QUESTIONS[name].ask(prepared(made), 60.0, lambda _: None)
    assert all(torch.equal(x, b) for (x, _), b in zip(made.train, before, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_answers_repeat(name):
    one, two = (QUESTIONS[name].ask(prepared(setup()), 60.0, lambda _: None) for _ in range(2))
    assert {k: str(v) for k, v in one.items()} == {k: str(v) for k, v in two.items()}
