"""Recalibration of Keras models: the population's statistics, biased; and nothing else is touched."""

import keras
import numpy as np
import pytest
from keras import layers

import normscope
from normscope.errors import NormscopeError
from normscope.graph.keras.values import read

RANDOM = np.random.default_rng(0)
DATA = (RANDOM.normal(size=(96, 5)) * [1, 2, 3, 0.1, 5] + 4).astype("float32")


def network(**words):
    return keras.Sequential(
        [
            layers.Input((5,)),
            layers.BatchNormalization(name="a", **words),
            layers.Dropout(0.5),
            layers.Dense(4),
            layers.BatchNormalization(name="b"),
            layers.Dense(1),
        ]
    )


def values(model):
    return [read(v) for v in model.variables]


@pytest.mark.parametrize(
    "batches", [DATA, [DATA[:50], DATA[50:]], [(DATA[:7], None), (DATA[7:], None)]]
)
def test_population_statistics(batches):
    model = network()
    certificate = normscope.recalibrate(model, batches)
    first = model.get_layer("a")
    assert np.allclose(read(first.moving_mean), DATA.mean(0), rtol=1e-5)
    assert np.allclose(read(first.moving_variance), DATA.var(0), rtol=1e-4)  # biased
    assert (certificate.samples, len(certificate.layers)) == (96, 2)
    assert certificate.differences[0].distance > 0.1
    assert "biased" in certificate.text()


def test_inference_is_then_what_training_is():
    model = network()
    model.layers[1].rate = 0.0
    normscope.recalibrate(model, [DATA])
    x = DATA
    assert np.allclose(
        model(x, training=False).detach().numpy(),
        model(x, training=True).detach().numpy(),
        atol=1e-3,  # float32, outputs of about 3
    )


def test_only_the_statistics_change():
    model = network()
    before = [read(v) for v in model.variables]
    normscope.recalibrate(model, DATA)
    pairs = zip(model.variables, before, strict=True)
    changed = [v for v, old in pairs if not np.array_equal(old, read(v))]
    assert [v.name for v in changed] == ["moving_mean", "moving_variance"] * 2
    assert all("call" not in vars(x) for x in model.layers)


def test_frozen_layers_keep_theirs():
    model = network()
    model.get_layer("a").trainable = False
    certificate = normscope.recalibrate(model, DATA)
    assert [x.path for x in certificate.layers] == ["b"]
    assert [(x.path, x.reason) for x in certificate.left] == [("a", "it is not trainable")]
    assert (read(model.get_layer("a").moving_mean) == 0).all()


def interrupted():
    yield DATA[:32]
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("data", "error", "told"),
    [
        (interrupted(), KeyboardInterrupt, None),
        ([DATA[:1], DATA[1:2]], NormscopeError, "one value per channel"),
        ([], NormscopeError, "got no batch"),
        (7, NormscopeError, "got a int"),
        ([DATA[:, :3]], ValueError, None),
    ],
)
def test_after_an_error_all_is_as_before(data, error, told):
    model = network()
    before = values(model)
    with pytest.raises(error, match=told):
        normscope.recalibrate(model, data)
    assert all(np.array_equal(a, b) for a, b in zip(before, values(model), strict=True))
    assert all("call" not in vars(x) for x in model.layers)


def test_a_model_without_batch_norm():
    with pytest.raises(NormscopeError, match="found no trainable BatchNormalization"):
        normscope.recalibrate(keras.Sequential([layers.Input((5,)), layers.Dense(1)]), DATA)


def test_so_many_samples():
    assert normscope.recalibrate(network(), DATA, samples=40, batch_size=16).samples == 48


def test_renormalizing_layers_take_the_population_for_their_corrections_too():
    clipping = {"rmax": 3.0, "rmin": 1 / 3, "dmax": 5.0}
    model = network(renorm=True, renorm_clipping=clipping)
    model.layers[1].rate = 0.0
    certificate = normscope.recalibrate(model, DATA)
    first = model.get_layer("a")
    assert [x.path for x in certificate.layers] == ["a", "b"]
    assert first.renorm is True
    assert np.allclose(read(first.moving_variance), DATA.var(0), rtol=1e-4)
    assert np.allclose(read(first.renorm_mean), DATA.mean(0), rtol=1e-5)
    assert np.allclose(read(first.renorm_stddev), np.sqrt(DATA.var(0) + first.epsilon), rtol=1e-4)
    before = read(first.moving_variance)
    model(DATA, training=True)  # one step derives the variance from the deviation anew
    assert np.allclose(read(first.moving_variance), before, rtol=1e-3)
