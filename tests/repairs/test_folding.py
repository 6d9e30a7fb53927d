"""Biases and whole batch norms folded into the maps before them: equal outputs, in every shape that a map has."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from normscope.errors import NormscopeError
from normscope.repairs.batchnorm_folding import fold_batchnorm
from normscope.repairs.redundant_bias import fold_redundant_bias

SPACE = {1: (6,), 2: (5, 4), 3: (3, 4, 3)}


def settled(model, seed=0):
    """The model with statistics, scales and shifts that are no identity, in float64."""
    generator = torch.Generator().manual_seed(seed)
    model = model.double()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.running_mean is not None:
            module.running_mean.copy_(torch.randn(module.num_features, generator=generator))
            module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 0.2)
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.affine:
            for p in (module.weight, module.bias):
                p.data.copy_(torch.randn(module.num_features, generator=generator))
    return model


def convolution(dims, groups, transposed, bias=True):
    kind = {False: (nn.Conv1d, nn.Conv2d, nn.Conv3d)}.get(
        transposed, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    )[dims - 1]
    norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dims - 1]
    return nn.Sequential(kind(4, 6, 2, groups=groups, bias=bias), norm(6), nn.ReLU())


maps = st.tuples(
    st.integers(1, 3), st.sampled_from([1, 2]), st.booleans(), st.booleans(), st.integers(0, 99)
)


@settings(max_examples=25, deadline=None)
@given(maps)
def test_a_folded_norm_leaves_evaluation_as_it_is(drawn):
    dims, groups, transposed, bias, seed = drawn
    model = settled(convolution(dims, groups, transposed, bias), seed).eval()
    x = torch.randn(3, 4, *SPACE[dims], dtype=torch.float64)
    repaired, certificate = fold_batchnorm(model, x)
    torch.testing.assert_close(repaired(x), model(x), rtol=1e-12, atol=1e-12)
    assert isinstance(repaired[1], nn.Identity)
    assert certificate.differences[0].distance < 1e-12
    assert isinstance(model[1], nn.modules.batchnorm._BatchNorm)


@settings(max_examples=25, deadline=None)
@given(maps)
def test_a_removed_bias_leaves_both_modes_as_they_are(drawn):
    dims, groups, transposed, _, seed = drawn
    model = settled(convolution(dims, groups, transposed), seed)
    x = torch.randn(3, 4, *SPACE[dims], dtype=torch.float64)
    repaired, certificate, _ = fold_redundant_bias(model, x)
    assert repaired[0].bias is None
    assert [d.mode for d in certificate.differences] == ["eval", "train"]
    assert all(d.distance < 1e-12 for d in certificate.differences)
    for mode in (
        True,
        False,
    ):  # training moves the running mean, and evaluation reads it afterwards
        one, two = model.train(mode)(x), repaired.train(mode)(x)
        torch.testing.assert_close(one, two, rtol=1e-11, atol=1e-11)


def test_float32_stays_within_a_few_roundings():
    model = settled(convolution(2, 1, False)).float().eval()
    x = torch.randn(4, 4, 8, 8)
    for repaired in (fold_batchnorm(model, x)[0], fold_redundant_bias(model, x)[0].eval()):
        torch.testing.assert_close(repaired(x), model(x), rtol=2e-5, atol=2e-5)


def test_a_linear_layer_and_a_flattened_map():
    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(1, 3, 2), nn.BatchNorm1d(27)
            self.fc, self.last = nn.Linear(27, 5), nn.BatchNorm1d(5)

        def forward(self, x):
            return self.last(self.fc(self.norm(self.conv(x).flatten(1)).relu()))

    model = settled(Flat()).eval()
    x = torch.randn(6, 1, 4, 4, dtype=torch.float64)
    repaired, _, _ = fold_redundant_bias(model, x)
    assert repaired.conv.bias is None
    assert repaired.fc.bias is None
    torch.testing.assert_close(repaired.eval()(x), model(x))
    torch.testing.assert_close(repaired.train()(x), model.train()(x))
    folded, certificate = fold_batchnorm(model.eval(), x)
    assert isinstance(folded.last, nn.Identity)
    assert [(left.path, left.reason) for left in certificate.left] == [
        ("norm", "its channels are positions as well")
    ]
    torch.testing.assert_close(folded(x), model.eval()(x))


class Activated(nn.BatchNorm2d):
    def forward(self, input):  # noqa: A002, torch's word
        return super().forward(input).relu()


def test_an_activation_fused_into_the_norm_survives():
    model = settled(nn.Sequential(nn.Conv2d(3, 4, 2), Activated(4))).eval()
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64)
    repaired, _ = fold_batchnorm(model, x)
    torch.testing.assert_close(repaired(x), model(x))
    assert float(repaired(x).detach().min()) == 0


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)

    def forward(self, x):
        return self.norm(self.conv(self.norm(self.conv(x))))


class Read(Twice):
    def forward(self, x):
        y = self.conv(x)
        return self.norm(y) + y


class Functional(Twice):
    def forward(self, x):
        return self.norm(nn.functional.conv2d(x, self.conv.weight, self.conv.bias))


class Between(Twice):
    def forward(self, x):
        return self.norm(self.conv(x).relu())


@pytest.mark.parametrize("build", [Twice, Read, Functional, Between])
def test_what_cannot_be_folded_stays(build):
    model = settled(build()).eval()
    x = torch.randn(4, 2, 3, 3, dtype=torch.float64)
    for repaired in (fold_batchnorm(model, x)[0], fold_redundant_bias(model, x)[0].eval()):
        assert repaired.conv.bias is not None
        assert isinstance(repaired.norm, nn.BatchNorm2d)
        torch.testing.assert_close(repaired(x), model(x))


def test_a_computed_weight_is_left_alone():
    conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 2, 1))
    model = settled(nn.Sequential(conv, nn.BatchNorm2d(2)))
    _, certificate = fold_batchnorm(model, torch.randn(2, 2, 3, 3, dtype=torch.float64))
    assert "parametrization" in certificate.left[0].reason


def test_a_weight_shared_with_another_layer_stays_that_layers():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.norm, self.two = nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3)
            self.two.weight = self.one.weight

        def forward(self, x):
            return self.two(self.norm(self.one(x)))

    model = settled(Tied()).eval()
    x = torch.randn(4, 3, dtype=torch.float64)
    torch.testing.assert_close(fold_batchnorm(model, x)[0](x), model(x))


def test_old_checkpoints_migrate_both_ways():
    model = settled(convolution(2, 1, False)).eval()
    x = torch.randn(3, 4, 5, 4, dtype=torch.float64)
    repaired, _, migration = fold_redundant_bias(model, x)
    old = settled(convolution(2, 1, False), seed=7).eval()
    repaired.eval().load_state_dict(migration.forward(old.state_dict()))
    torch.testing.assert_close(repaired(x), old(x))
    model.load_state_dict(migration.backward(repaired.state_dict()))
    torch.testing.assert_close(model(x), old(x))


def test_without_an_input_or_with_a_wrong_one_one_line_tells():
    model = convolution(2, 1, False)
    with pytest.raises(NormscopeError, match="needs an input"):
        fold_batchnorm(model)
    with pytest.raises(NormscopeError, match="Calling `Sequential` raised RuntimeError"):
        fold_redundant_bias(model, torch.randn(2, 9, 5, 5))
    assert model.training


def test_a_model_that_cannot_be_copied_is_told():
    model = convolution(2, 1, False)
    model.kept = model(torch.randn(2, 4, 5, 5))
    with pytest.raises(NormscopeError, match="cannot be copied"):
        fold_batchnorm(model, torch.randn(2, 4, 5, 5))
