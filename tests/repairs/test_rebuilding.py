"""Batch norm taken out, and batch norm moved before the addition: the function that results, and what cannot be done."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from normscope.errors import NormscopeError
from normscope.nn import FrozenBatchNorm, SkipInit
from normscope.repairs.batchnorm_removal import remove_batchnorm
from normscope.repairs.norm_placement import move_before_addition

X = torch.randn(32, 3, 8, 8, generator=torch.Generator().manual_seed(1))


class Block(nn.Module):
    def __init__(self, into, out):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(into, out, 3, padding=1, bias=False), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, padding=1, bias=False), nn.BatchNorm2d(out)
        self.short = (
            nn.Sequential()
            if into == out
            else nn.Sequential(nn.Conv2d(into, out, 1, bias=False), nn.BatchNorm2d(out))
        )

    def forward(self, x):
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + self.short(x))


class PreActivated(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.bn, self.conv = nn.BatchNorm2d(channels), nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return x + self.conv(F.relu(self.bn(x)))


def net():
    torch.manual_seed(0)
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5))
    return nn.Sequential(Block(3, 16), Block(16, 16), *head)


def trained(model):
    for _ in range(40):
        model.train()(torch.randn(32, 3, 8, 8) * 2 + 1)
    return model


def test_a_trained_model_keeps_its_evaluation():
    model = trained(net())
    repaired, certificate = remove_batchnorm(model, X)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in repaired.modules())
    torch.testing.assert_close(repaired.eval()(X), model.eval()(X), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(repaired.train()(X), repaired.eval()(X))
    assert [isinstance(repaired[i].bn2, SkipInit) for i in (0, 1)] == [True, True]
    assert isinstance(repaired[0].short[1], nn.Identity)
    assert "ended 2 residual branches in a learned scale that begins at 1" in certificate.done
    assert any("learning rate" in w for w in certificate.warnings)


def test_a_new_model_starts_as_its_skip_path_with_unit_scale():
    repaired, certificate = remove_batchnorm(net(), X)
    assert "begins at 0" in certificate.done
    inner: dict[str, torch.Tensor] = {}
    for name in ("conv1", "conv2"):
        getattr(repaired[0], name).register_forward_hook(
            lambda _, __, out, name=name: inner.update({name: out.detach()})
        )
    torch.testing.assert_close(repaired[0](X), F.relu(repaired[0].short(X)))
    torch.testing.assert_close(repaired[1](X.new_ones(2, 16, 8, 8)), X.new_ones(2, 16, 8, 8))
    for out in inner.values():
        deviations = out.transpose(0, 1).flatten(1).std(1)
        torch.testing.assert_close(deviations, torch.ones_like(deviations), rtol=0.02, atol=0.0)


def test_a_norm_without_a_map_before_it_is_fixed():
    model = trained(nn.Sequential(nn.Conv2d(3, 4, 1), PreActivated(4), PreActivated(4)))
    repaired, certificate = remove_batchnorm(model, X)
    assert isinstance(repaired[1].bn, FrozenBatchNorm)
    assert repaired[1].bn.weight.requires_grad
    assert "fixed 2" in certificate.done
    torch.testing.assert_close(repaired.eval()(X), model.eval()(X), rtol=1e-4, atol=1e-4)


class Activated(nn.BatchNorm2d):
    """As in libraries that fuse the activation into the norm."""

    def __init__(self, channels):
        super().__init__(channels)
        self.act = nn.ReLU()

    def forward(self, input):  # noqa: A002, torch's word
        return self.act(super().forward(input))


@pytest.mark.parametrize(
    "before", [nn.Conv2d(3, 4, 1), nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())]
)
def test_an_activation_fused_into_the_norm_survives(before):
    model = trained(nn.Sequential(before, Activated(4), nn.Conv2d(4, 2, 1)))
    repaired, _ = remove_batchnorm(model, X)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in repaired.modules())
    torch.testing.assert_close(repaired.eval()(X), model.eval()(X), rtol=1e-4, atol=1e-4)


def test_what_cannot_be_taken_out_is_told():
    with pytest.raises(NormscopeError, match="has no batch norm"):
        remove_batchnorm(nn.Sequential(nn.Linear(2, 2)), torch.randn(2, 2))
    with pytest.raises(NormscopeError, match="not trained yet"):
        remove_batchnorm(net())


class After(nn.Module):
    """Norm behind the addition, written in one of the ways that people write it."""

    def __init__(self, how="plain", projected=False):
        super().__init__()
        self.how = how
        self.conv1, self.conv2 = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(2))
        self.norm = nn.BatchNorm2d(3)
        self.short = nn.Conv2d(3, 3, 1) if projected else nn.Identity()

    def forward(self, x):
        branch, skip = self.conv2(F.relu(self.conv1(x))), self.short(x)
        if self.how == "torch":
            return F.relu(self.norm(torch.add(skip, branch)))
        if self.how == "method":
            return F.relu(self.norm(branch.add(skip)))
        if self.how == "in place":
            branch += skip
            return F.relu(self.norm(branch))
        return F.relu(self.norm(skip + branch))

    def wanted(self, x):
        return F.relu(self.short(x) + self.norm(self.conv2(F.relu(self.conv1(x)))))


@pytest.mark.parametrize("projected", [False, True])
@pytest.mark.parametrize("how", ["plain", "torch", "method", "in place"])
def test_the_norm_moves_into_the_branch(how, projected):
    model = After(how, projected)
    repaired, certificate = move_before_addition(model, X)
    assert "moved 1 batch norms" in certificate.done
    assert repaired.state_dict().keys() == model.state_dict().keys()
    for mode in (True, False):
        out, wanted = repaired.train(mode)(X.clone()), model.train(mode).wanted(X.clone())
        torch.testing.assert_close(out, wanted)
    assert not any(p is q for p in repaired.parameters() for q in model.parameters())


class Reader(After):
    def forward(self, x):
        total = x + self.conv1(x)
        return self.norm(total) + total


class Unrelated(After):
    def forward(self, x, y):
        return self.norm(self.conv1(x) + self.conv2(y))


class Branching(After):
    def forward(self, x):
        return self.norm(x + self.conv1(x)) if x.sum() > 0 else x


@pytest.mark.parametrize(
    ("model", "inputs", "told"),
    [
        (Reader(), (X,), "the sum has another reader"),
        (Unrelated(), (X, X), "there is no skip path"),
        (Branching(), (X,), "cannot be traced"),
        (nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)), (X,), "no batch norm reads a sum"),
    ],
)
def test_what_cannot_be_moved_is_told(model, inputs, told):
    with pytest.raises(NormscopeError, match=told):
        move_before_addition(model, *inputs)


def test_the_command_tells_how_to_build_what_the_weights_are_for():
    """Group norms of other groups have weights of the same shapes."""
    from normscope.repairs.rebuilding import rebuild

    model = trained(net())
    told = {
        name: rebuild(name, (model, X), "m.py:net", options)[1]
        for name, options in {
            "convert-group": {"groups": 4, "calibrated": True},
            "freeze-batchnorm": {"layers": ("0",), "fixed_affine": True},
            "set-momentum": {"momentum": 0.2},
        }.items()
    }
    assert all(certificate.repair == name for name, certificate in told.items())
    assert [certificate.warnings[-1] for certificate in told.values()] == [
        "the architecture changed: build it by `normscope.repairs.convert(model, 'group', x, groups=4)`, then load these weights",
        "the architecture changed: build it by `normscope.repairs.convert(model, 'frozen', x, layers=('0',), trainable_affine=False)`, "
        "then load these weights",
        "momentum is not among the weights: set it by `normscope.repairs.set_momentum(model, momentum=0.2)`",
    ]
