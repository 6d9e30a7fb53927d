"""A PyTorch and a Keras model of one architecture: what the port changed."""

import keras
import numpy as np
import pytest
import torch
from keras import layers
from torch import nn

import normscope
from normscope.errors import NormscopeError

WIDTHS = (8, 12)


def of_keras(**words):
    parts = [
        part
        for n in WIDTHS
        for part in (layers.Dense(n), layers.BatchNormalization(**words), layers.ReLU())
    ]
    model = keras.Sequential(
        [layers.Input((5,)), *parts, layers.LayerNormalization(), layers.Dense(2)]
    )
    random = np.random.default_rng(0)
    for norm in model.layers:
        if isinstance(norm, layers.BatchNormalization):
            for variable in (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance):
                variable.assign(random.uniform(0.2, 2, variable.shape))
    return model


def of_torch(model, order=(0, 1, 2, 3), **words):
    """The same with its weights carried over."""
    parts = []
    into = 5
    for n in WIDTHS:
        parts += [nn.Linear(into, n), nn.BatchNorm1d(n, **words), nn.ReLU()]
        into = n
    ported = nn.Sequential(*parts, nn.LayerNorm(into, eps=1e-3), nn.Linear(into, 2))
    own = [m for m in ported if isinstance(m, (nn.Linear, nn.BatchNorm1d))]
    theirs = [x for x in model.layers if isinstance(x, (layers.Dense, layers.BatchNormalization))]
    with torch.no_grad():
        for there, here in zip(own, theirs, strict=True):
            values = [v.value.detach().clone() for v in here.weights]
            if isinstance(there, nn.Linear):
                there.weight.copy_(values[0].T)
                there.bias.copy_(values[1])
            else:
                for name, i in zip(
                    ("weight", "bias", "running_mean", "running_var"), order, strict=True
                ):
                    getattr(there, name).copy_(values[i])
    return ported.eval()


def found(torch_model, keras_model):
    return {
        (f.severity, f.measured[0].name)
        for f in normscope.compare_ports(torch_model, keras_model).findings
    }


def outputs(torch_model, keras_model):
    x = torch.randn(16, 5, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return (torch_model(x) - keras_model(x, training=False)).abs().max().item()


def test_a_faithful_port():
    original = of_keras(momentum=0.9)
    ported = of_torch(original, momentum=0.1, eps=1e-3)
    assert found(ported, original) == set()
    assert outputs(ported, original) < 1e-5


def test_momentum_that_was_copied():
    original = of_keras(momentum=0.9)
    diagnosis = normscope.compare_ports(of_torch(original, momentum=0.9, eps=1e-3), original)
    [finding] = diagnosis.findings
    assert (finding.code, finding.severity, finding.layers) == ("NS705", "error", ("1", "4"))
    assert "momentum=0.9 in PyTorch" in finding.message
    assert "Set momentum=0.1" in finding.message
    assert diagnosis.verdict.status == "failing"


def test_defaults_of_both():
    original = of_keras()
    ported = of_torch(original)
    assert {s for s, _ in found(ported, original)} == {"info"}


def test_eps_beside_small_variances():
    original = of_keras(momentum=0.9)
    original.layers[1].moving_variance.assign(np.full(8, 1e-3))
    ported = of_torch(original, momentum=0.1)
    assert ("warning", "change of the output by eps") in found(ported, original)
    assert outputs(ported, original) > 1e-3


@pytest.mark.parametrize("order", [(1, 0, 2, 3), (0, 1, 3, 2)])
def test_exchanged_vectors(order):
    original = of_keras(momentum=0.9)
    ported = of_torch(original, order, momentum=0.1, eps=1e-3)
    assert ("error", "layers with differing vectors") in found(ported, original)
    assert outputs(ported, original) > 1e-3


def test_statistics_that_each_side_recomputed():
    original = of_keras(momentum=0.9)
    ported = of_torch(original, momentum=0.1, eps=1e-3)
    ported[1].running_var.mul_(32 / 31)
    [finding] = normscope.compare_ports(ported, original).findings
    assert finding.severity == "info"
    assert "n = 32" in finding.message


def test_other_architectures():
    original = of_keras()
    assert (
        "do not hold the same norms"
        in normscope.compare_ports(nn.BatchNorm1d(3), original).findings[0].message
    )


def test_models_in_the_wrong_place():
    original = of_keras()
    with pytest.raises(
        NormscopeError,
        match=r"first model, but expected `compare_ports\(torch_model, keras_model\)`",
    ):
        normscope.compare_ports(original, original)
    with pytest.raises(NormscopeError, match="second model"):
        normscope.compare_ports(of_torch(original), nn.Linear(1, 1))


def test_another_axis():
    """PyTorch normalizes along dimension 1; a norm along Keras' rows has as many channels as there are rows."""
    rows = keras.Sequential([layers.Input((6, 6, 8)), layers.BatchNormalization(axis=1)])
    [finding] = normscope.compare_ports(nn.Sequential(nn.BatchNorm2d(8)), rows).findings
    assert (finding.code, finding.severity) == ("NS705", "warning")
    assert "(batch norm, 8 channels) there and" in finding.message
    assert "(batch norm, 6 channels) here" in finding.message
    first = keras.Sequential([layers.Input((8, 6, 6)), layers.BatchNormalization(axis=1)])
    same = nn.BatchNorm2d(8, momentum=0.01, eps=1e-3)
    assert found(nn.Sequential(same), first) == set()
