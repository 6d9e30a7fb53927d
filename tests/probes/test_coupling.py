"""Dependence on batch mates in evaluation mode, whatever makes it."""

from collections import namedtuple

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from normscope.probes import thresholds
from normscope.probes.coupling import coupling
from normscope.record.torch.batches import Kept
from probes.asking import ask, cut, mlp


class FixedFlag(nn.BatchNorm1d):
    def forward(self, x):
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, True)


class NeverEval(nn.BatchNorm1d):
    def train(self, mode=True):
        return super().train(True)


def model_with(norm):
    return nn.Sequential(nn.Linear(8, 16), norm, nn.ReLU(), nn.BatchNorm1d(16), nn.Linear(16, 3))


def batches():
    return cut(torch.randn(128, 8), torch.randint(0, 3, (128,)), 32)


@pytest.mark.parametrize(
    "norm",
    [nn.BatchNorm1d(16, track_running_stats=False), FixedFlag(16), NeverEval(16)],
    ids=["without running statistics", "fixed flag", "own train method"],
)
def test_coupled(norm):
    gap = ask(model_with(norm), batches()).gap
    assert gap.coupling > 0.01
    assert gap.coupled_layers == ("1",)
    assert not thresholds.calm(gap)


@pytest.mark.parametrize(
    "norm",
    [nn.BatchNorm1d(16), nn.LayerNorm(16), nn.GroupNorm(4, 16)],
    ids=lambda n: type(n).__name__,
)
def test_not_coupled(norm):
    gap = ask(model_with(norm), batches()).gap
    assert gap.coupling < 1e-5
    assert gap.coupled_layers == ()


def test_no_layer_keeps_running_statistics():
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16, track_running_stats=False))
    gap = ask(model, batches()).gap
    assert gap.coupled_layers == ("1",)
    assert gap.batch == gap.population == gap.running
    assert gap.layers == ()


def test_batches_of_different_sizes_cannot_be_mixed():
    x, y = torch.randn(64, 8), torch.randint(0, 3, (64,))
    assert ask(mlp(), [*cut(x, y, 40)]).gap.coupling is None


class Wrapped(nn.Module):
    """Reads its input out of a container."""

    def __init__(self, norm, read):
        super().__init__()
        self.model, self.read = model_with(norm), read

    def forward(self, x):
        return self.model(self.read(x))


Row = namedtuple("Row", "x")


@pytest.mark.parametrize(
    ("wrap", "read"),
    [(lambda x: [x], lambda v: v[0]), (lambda x: {"x": x}, lambda v: v["x"]), (Row, lambda v: v.x)],
    ids=["list", "dict", "named tuple"],
)
def test_inputs_in_containers_are_mixed_too(wrap, read):
    first, second = (
        Kept((wrap(torch.randn(32, 8)),), {}, 32, 1024, 0, torch.device("cpu")) for _ in range(2)
    )
    with torch.no_grad():
        assert coupling(Wrapped(NeverEval(16), read), [first, second]) > 0.01
        assert coupling(Wrapped(nn.LayerNorm(16), read), [first, second]) < 1e-5
