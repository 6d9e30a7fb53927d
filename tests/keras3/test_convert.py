"""Other norms in place of batch norm, with everything else carried over."""

import keras
import numpy as np
import pytest
from keras import layers

from normscope.errors import NormscopeError
from normscope.graph.keras.values import read
from normscope.repairs.keras.conversion import convert


def network():
    x = keras.Input((8, 8, 3))
    body = keras.Sequential(
        [layers.Input((6, 6, 12)), layers.BatchNormalization(name="n"), layers.ReLU()], name="body"
    )
    y = layers.Conv2D(12, 3, name="c")(x)
    y = layers.BatchNormalization(name="first", epsilon=1e-4, scale=False)(y)
    model = keras.Model(x, layers.Dense(2, name="out")(layers.GlobalAveragePooling2D()(body(y))))
    random = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(random.uniform(0.5, 1.5, variable.shape))
    return model


@pytest.mark.parametrize(
    ("to", "kind", "groups"),
    [
        ("group", layers.GroupNormalization, 1),  # of 8 channels or more
        ("instance", layers.GroupNormalization, 12),
        ("layer", layers.LayerNormalization, None),
    ],
)
def test_weights_are_carried_over(to, kind, groups):
    model = network()
    before = [read(v) for v in model.weights]
    copy, certificate = convert(model, to)
    for there, here in (
        (copy.get_layer("first"), model.get_layer("first")),
        (copy.get_layer("body").get_layer("n"), model.get_layer("body").get_layer("n")),
    ):
        assert isinstance(there, kind)
        assert np.array_equal(read(there.beta), read(here.beta))
        assert there.epsilon == here.epsilon
        if groups is not None:
            assert there.groups == groups
    assert np.array_equal(read(copy.get_layer("c").kernel), read(model.get_layer("c").kernel))
    assert np.array_equal(read(copy.get_layer("out").bias), read(model.get_layer("out").bias))
    assert not any("moving" in v.name for v in copy.weights)
    assert all(np.array_equal(a, read(v)) for a, v in zip(before, model.weights, strict=True))
    assert "2 batch norms" in certificate.done
    x = np.random.default_rng(1).normal(size=(4, 8, 8, 3)).astype("float32")
    alone, together = copy(x[:1], training=False), copy(x, training=True)
    assert np.allclose(alone.detach().numpy()[0], together.detach().numpy()[0], atol=1e-5)


def test_groups_of_choice():
    copy, _ = convert(network(), "group", groups=6)
    assert copy.get_layer("first").groups == 6
    with pytest.raises(NormscopeError, match="5 groups, but `first` has 12 channels"):
        convert(network(), "group", groups=5)


def test_models_that_cannot_be_converted():
    with pytest.raises(NormscopeError, match="found no BatchNormalization"):
        convert(keras.Sequential([layers.Input((3,)), layers.Dense(2)]), "layer")
    with pytest.raises(NormscopeError, match="expected one of group, layer, instance"):
        convert(network(), "ghost")


@pytest.mark.parametrize(("features", "groups"), [(8, 1), (16, 2), (24, 3), (512, 32)])
def test_features_without_positions_are_not_normalized_alone(features, groups):
    model = keras.Sequential([layers.Input((features,)), layers.BatchNormalization(name="n")])
    copy, _ = convert(model, "group")
    assert copy.get_layer("n").groups == groups
    with pytest.raises(NormscopeError, match="each would become its shift"):
        convert(model, "instance")
    tiny = keras.Sequential([layers.Input((4,)), layers.BatchNormalization(name="n")])
    with pytest.raises(NormscopeError, match="`n`: 4 channels at 1 position are 4 values"):
        convert(tiny, "group")


def test_renormalizing_layers_go_on_from_the_moving_statistics():
    model = network()
    model.get_layer("first").moving_variance.assign(np.full(12, 4.0, "float32"))
    copy, certificate = convert(model, "renorm")
    assert "2 batch norms" in certificate.done
    first = copy.get_layer("first")
    assert np.array_equal(read(first.renorm_mean), read(first.moving_mean))
    assert np.allclose(read(first.renorm_stddev), np.sqrt(4.0 + 1e-4))
    x = np.random.default_rng(1).normal(size=(4, 8, 8, 3)).astype("float32")
    copy(x, training=True)  # the variance is then derived from the deviation
    assert (read(first.moving_variance) > 3.5).all()
