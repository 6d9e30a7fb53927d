"""A model that was asked is the model that it was, bit for bit, also when it raises in the middle."""

import logging
import random
import sys
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from normscope.probes.untouched import untouched
from probes.asking import ask, cut, mlp


class Talkative(nn.Module):
    """Prints, warns, logs, draws, counts, replaces a buffer, and raises at the call that it is told to."""

    def __init__(self, fails_at=None):
        super().__init__()
        self.body = mlp()
        self.body[4].eval()  # a mode of its own
        self.body[0].weight.requires_grad_(False)
        self.register_buffer("latest", torch.zeros(1))
        self.calls, self.fails_at = 0, fails_at

    def train(self, mode=True):
        self.requires_grad_(mode)
        return super().train(mode)

    def forward(self, x):
        print("forward")
        print("forward", file=sys.stderr)
        warnings.warn("forward", stacklevel=1)
        logging.getLogger("talk").error("forward")
        random.random()
        np.random.rand()
        self.calls += 1
        self.latest = x.mean().reshape(1)
        if self.fails_at is not None and self.calls == self.fails_at:
            raise RuntimeError("out of memory")
        return self.body(x + 0 * torch.rand_like(x))


def state(model):
    """All that must come back, in comparable form."""
    return {
        "tensors": {k: v.clone() for k, v in model.state_dict().items()},
        "ids": {k: id(v) for k, v in (*model.named_parameters(), *model.named_buffers())},
        "flags": [(m.training, getattr(m, "momentum", None)) for m in model.modules()],
        "hooks": [
            len(h)
            for m in model.modules()
            for h in (m._forward_hooks, m._forward_pre_hooks, m._forward_pre_hooks_with_kwargs)
        ],
        "grads": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "requires": [p.requires_grad for p in model.parameters()],
        "calls": getattr(model, "calls", None),
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state()[1].tolist(),
        "python": random.getstate(),
        "logging": logging.root.manager.disable,
        "enabled": torch.is_grad_enabled(),
    }


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def batches():
    return cut(torch.randn(96, 8), torch.randint(0, 3, (96,)), 32)


@pytest.mark.parametrize("fails_at", [None, 1, 3, 7, 12, 16])
def test_everything_comes_back_and_nothing_is_shown(fails_at, capfd, caplog):
    model, data = Talkative(fails_at), batches()
    model.body(data[0].args[0]).sum().backward()
    before = state(model)
    if fails_at is None:
        ask(model, data)
    else:
        with pytest.raises(RuntimeError, match="out of memory"):
            ask(model, data)
    assert same(state(model), before)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_the_inputs_are_left_alone():
    class InPlace(nn.Sequential):
        def forward(self, x):
            return super().forward(x.mul_(2))

    data = batches()
    before = [b.args[0].clone() for b in data]
    ask(InPlace(*mlp()), data)
    assert same([b.args[0] for b in data], before)


def test_the_comparison_itself_sees_a_difference():
    model = Talkative()
    before = state(model)
    with untouched(model):
        model.eval()
        torch.rand(1)
        assert not same(state(model), before)
    assert same(state(model), before)
