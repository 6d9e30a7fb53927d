"""Keras models built anew with other layers: functional, sequential, nested and subclassed; what must stay the same does."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from normscope.errors import NormscopeError
from normscope.graph.keras.values import read
from normscope.probes.keras.setup import prepared
from normscope.repairs.keras.conversion import convert
from normscope.repairs.keras.folding import fold_batchnorm, fold_redundant_bias, remove_batchnorm
from normscope.repairs.keras.freezing import freeze
from normscope.repairs.keras.momentum import set_momentum

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
X = np.random.default_rng(0).normal(1.0, 2.0, size=(16, 8, 8, 3)).astype("float32")


@keras.saving.register_keras_serializable("normscope-tests")
class Block(layers.Layer):
    """Layers as attributes and in a list."""

    def __init__(self, width: int, **words: Any) -> None:
        super().__init__(**words)
        self.width = width
        self.conv = layers.Conv2D(width, 3, padding="same")
        self.norm = layers.BatchNormalization()
        self.more = [layers.Conv2D(width, 1), layers.BatchNormalization()]

    def call(self, x: Any, training: Any = None) -> Any:
        y = keras.ops.relu(self.norm(self.conv(x), training=training))
        return x + self.more[1](self.more[0](y), training=training)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width}


class Net(keras.Model):
    """Subclassed, with a configuration."""

    def __init__(self, width: int = 6, **words: Any) -> None:
        super().__init__(**words)
        self.width = width
        self.stem = layers.Conv2D(width, 3)
        self.norm = layers.BatchNormalization()
        self.block = Block(width)
        self.head = layers.Dense(2)

    def call(self, x: Any, training: Any = None) -> Any:
        x = keras.ops.relu(self.norm(self.stem(x), training=training))
        return self.head(keras.ops.mean(self.block(x, training=training), axis=(1, 2)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width}


class Bare(keras.Model):
    """Subclassed; nobody could make it from what it tells of itself."""

    def __init__(self, first: Any) -> None:
        super().__init__()
        self.first = first
        self.norm = layers.BatchNormalization()

    def call(self, x: Any, training: Any = None) -> Any:
        return self.norm(self.first(x), training=training)


def filled(model: Any) -> Any:
    model(X[:2])
    random = np.random.default_rng(1)
    for variable in model.weights:
        variable.assign(random.uniform(0.5, 1.5, variable.shape))
    return model


def functional() -> Any:
    x = keras.Input((8, 8, 3))
    y = layers.ReLU()(layers.BatchNormalization(name="n1")(layers.Conv2D(6, 3, name="c1")(x)))
    y = Block(6, name="block")(y)
    y = layers.BatchNormalization(name="n2")(
        layers.DepthwiseConv2D(3, depth_multiplier=2, name="d")(y)
    )
    y = layers.Conv2DTranspose(5, 3, use_bias=False, name="t")(layers.ReLU()(y))
    y = layers.BatchNormalization(name="n3", center=False, scale=False)(y)
    y = layers.GlobalAveragePooling2D()(layers.Activation("relu", name="last_relu")(y))
    return filled(keras.Model(x, layers.Dense(2)(y)))


def batch_of(model: Any) -> Any:
    return prepared({"model": model, "train": X}).train[0]


def out(model: Any, *, training: bool = False) -> Any:
    return keras.ops.convert_to_numpy(keras.ops.stop_gradient(model(X, training=training)))


def norms(model: Any) -> list[Any]:
    return [x for x in model._flatten_layers() if isinstance(x, layers.BatchNormalization)]


@pytest.mark.parametrize("make", [functional, lambda: filled(Net())], ids=["functional", "class"])
def test_biases_that_norms_cancel(make: Any) -> None:
    model = make()
    before, training = out(model), None
    copy, certificate = fold_redundant_bias(model, batch_of(model))
    assert certificate.kind == "exact"
    assert [d.distance < 1e-5 for d in certificate.differences] == [True, True]
    assert np.allclose(out(copy), before, atol=1e-4)
    assert np.array_equal(out(model), before)
    gone = (
        {v.path for v in model.weights if v.name == "bias"},
        [v for v in copy.weights if v.name == "bias"],
    )
    assert len(gone[1]) == 1  # that of the last Dense layer, which no norm follows
    training = out(copy, training=True)
    assert np.allclose(training, out(model, training=True), atol=1e-3)
    for own, other in zip(norms(model), norms(copy), strict=True):
        assert np.allclose(read(own.moving_variance), read(other.moving_variance), atol=1e-4)


@pytest.mark.parametrize("make", [functional, lambda: filled(Net())], ids=["functional", "class"])
@pytest.mark.parametrize("repair", [fold_batchnorm, remove_batchnorm])
def test_norms_in_the_layers_before_them(make: Any, repair: Any) -> None:
    model = make()
    copy, certificate = repair(model, batch_of(model))
    assert norms(copy) == []
    assert certificate.differences[0].distance < 1e-4
    assert certificate.differences[1].distance > 1e-2
    assert np.allclose(out(copy), out(model), rtol=1e-3, atol=1e-3)


def test_norms_that_cannot_be_folded_stay() -> None:
    x = keras.Input((5,))
    y = layers.BatchNormalization(name="first")(x)
    y = layers.BatchNormalization(name="second")(layers.Dense(4, name="read_twice")(y))
    z = layers.Dense(3, name="dense")(layers.ReLU()(y))
    model = keras.Model(x, [layers.BatchNormalization(name="third")(z), y])
    copy, certificate = fold_batchnorm(model)
    assert {x.name for x in norms(copy)} == {"first"}
    assert [x.path for x in certificate.left] == ["first"]
    with pytest.raises(NormscopeError, match="found no batch norm right behind"):
        fold_batchnorm(keras.Sequential([keras.Input((5,)), layers.BatchNormalization()]))
    with pytest.raises(NormscopeError, match="found no bias that a batch norm"):
        fold_redundant_bias(keras.Sequential([keras.Input((5,)), layers.BatchNormalization()]))


@pytest.mark.parametrize("to", ["group", "layer", "instance", "renorm"])
def test_norms_inside_layers_of_ones_own_are_exchanged(to: str) -> None:
    for model, count in ((functional(), 5), (filled(Net()), 3)):
        copy, certificate = convert(model, to, batch=batch_of(model))
        assert certificate.done.startswith(f"{count} batch norms became")
        assert certificate.left == ()
        if to == "renorm":
            assert [n.renorm for n in norms(copy)] == [True] * count
            assert np.allclose(out(copy), out(model), atol=1e-3)
        else:
            assert norms(copy) == []
        assert len(copy.trainable_weights) == len(model.trainable_weights)
        copy.compile("sgd", "mse")
        copy.fit(X, np.zeros((16, 2)), epochs=1, verbose=0)


def test_momentum_of_a_subclassed_model() -> None:
    model = filled(Net())
    copy, certificate = set_momentum(model, 0.9, batch=batch_of(model))
    assert [n.momentum for n in norms(copy)] == [0.9] * 3
    assert [n.momentum for n in norms(model)] == [0.99] * 3
    assert [d.distance for d in certificate.differences] == [0, 0]


def test_frozen_norms() -> None:
    model = functional()
    norms(model)[0].moving_mean.assign(np.zeros(6))
    norms(model)[0].moving_variance.assign(np.ones(6))
    copy, certificate = freeze(model, batch_of(model))
    assert [n.trainable for n in norms(copy)] == [False] * 4 + [True] or sum(
        not n.trainable for n in norms(copy)
    ) == 4
    assert all(n.trainable for n in norms(model))
    assert [x.reason for x in certificate.left] == [
        "its statistics are still mean 0 and variance 1"
    ]
    assert certificate.differences[0].distance == 0
    assert certificate.differences[1].distance > 0.01
    with pytest.raises(NormscopeError, match="found no BatchNormalization with statistics"):
        freeze(keras.Sequential([keras.Input((5,)), layers.BatchNormalization()]))


def test_models_that_cannot_be_built_again() -> None:
    bare = filled(Bare(layers.Conv2D(4, 3)))
    for repair in (
        lambda: convert(bare, "group", batch=batch_of(bare)),
        lambda: fold_redundant_bias(bare, batch_of(bare)),
        lambda: set_momentum(bare, 0.9, batch=batch_of(bare)),
    ):
        with pytest.raises(NormscopeError, match=r"`Bare`.* cannot be built again") as told:
            repair()
        assert "\n" not in str(told.value)
    with pytest.raises(NormscopeError, match="`Net` is subclassed, and what it is called with"):
        set_momentum(filled(Net()), 0.9)
    with pytest.raises(NormscopeError, match="has no values yet"):
        set_momentum(Net(), 0.9)
