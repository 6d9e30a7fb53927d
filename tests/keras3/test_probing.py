"""Keras models that are asked by `normscope.probe`: gradients, batch sizes, batch mates and the gap, against what is known of them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import torch
from keras import layers

import normscope
from normscope.errors import NormscopeError
from normscope.probes.keras.gradients import gradient
from normscope.probes.keras.samples import Pool, exchanged, shuffled
from normscope.probes.keras.setup import prepared

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
RNG = np.random.default_rng(0)
X = RNG.normal(1.0, 2.0, size=(256, 8)).astype("float32")
Y = X[:, :3].argmax(1)
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


class Fixed(keras.Model):
    """Its flag is fixed."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = layers.BatchNormalization(name="norm")
        self.last = layers.Dense(3)

    def call(self, x: Any, training: Any = None) -> Any:
        del training
        return self.last(self.norm(x, training=True))


def network(*between: Any) -> Any:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([
        keras.Input((8,)), layers.Dense(16, name="first"), layers.BatchNormalization(name="norm"), *between,
        layers.ReLU(), layers.Dense(3, name="last"),
    ])  # fmt: skip
    model.compile("sgd", LOSS)
    return model


def answers(setup: Any, *names: str) -> dict[str, Any]:
    diagnosis = normscope.probe(setup, *names, seconds=20)
    assert [e.detail for e in diagnosis.recording.events_of("not-probed")] == []
    return {k: v[0] for k, v in diagnosis.recording.measurements.items()}


def values(model: Any) -> list[Any]:
    return [np.array(keras.ops.convert_to_numpy(v)) for v in model.variables]


def test_a_gradient_is_that_of_the_loss_with_batch_statistics() -> None:
    model = network()
    [batch, *_] = prepared({"model": model, "train": (X, Y)}).train
    before = values(model)
    found = gradient(model, batch, [model.layers[1]])
    loss = LOSS(Y[:32], model(X[:32], training=True))
    wanted = torch.autograd.grad(loss, [v.value for v in model.trainable_variables])
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b.cpu(), atol=1e-6, rtol=1e-4)
    assert not all(np.array_equal(a, b) for a, b in zip(before, values(model), strict=True))
    # It was the line above that moved the statistics, not the probe.
    other = network()
    gradient(other, batch, [other.layers[1]])
    assert all(np.array_equal(a, b) for a, b in zip(before, values(other), strict=True))


def test_batch_sizes() -> None:
    model = network()
    before = values(model)
    found = answers({"model": model, "train": (X, Y)}, "batch_size")["batch_size"]
    assert found.largest == 32
    assert [s.size for s in found.sizes] == [2, 4, 8, 16]
    biases = [s.bias.value for s in found.sizes]
    assert biases == sorted(biases, reverse=True)
    assert biases[0] > 0.2
    assert [x.path for x in found.layers] == ["first", "norm", "last"]
    for other in found.replaced:
        assert other.refused or max(other.bias) < 1e-4
    assert {o.norm for o in found.replaced if not o.refused} == {"group", "layer"}
    assert all(np.array_equal(a, b) for a, b in zip(before, values(model), strict=True))


def test_batch_mates() -> None:
    found = answers({"model": network(layers.Dropout(0.5)), "train": (X, Y)}, "coupling")
    coupling = found["coupling"]
    assert coupling.floor == 0  # masks of dropout stay with their places
    assert coupling.coupled_layers == ()
    assert [m.replaced for m in coupling.training] == [1, 2, 4, 8, 16]
    assert max(m.change.value for m in coupling.evaluation) < 1e-5
    assert coupling.training[-1].change.value > 0.1
    assert coupling.leak is not None
    assert abs(coupling.leak.error.rise.value) < 3 * coupling.leak.error.rise.noise + 0.02


def test_batch_mates_of_a_model_with_a_fixed_flag() -> None:
    model = Fixed()
    coupling = answers({"model": model, "train": (X, Y), "loss": LOSS}, "coupling")["coupling"]
    assert coupling.coupled_layers == ("norm",)
    assert coupling.evaluation[-1].change.value > 0.05


def test_the_gap_with_held_out_data() -> None:
    model = network()
    setup = {"model": model, "train": (X[:192], Y[:192]), "held_out": (X[192:], Y[192:])}
    diagnosis = normscope.probe(setup, "gap", seconds=20)
    [gap] = diagnosis.recording.measurements["gap"]
    assert gap.unit == "nats"
    assert gap.samples == 192
    assert gap.stale.value > 3 * gap.stale.noise  # never trained: mean 0 and variance 1 are stored
    assert gap.held_out is not None
    assert "NS408" in [f.code for f in diagnosis.findings]
    assert diagnosis.recording.channels[0].population_mean is not None


def test_a_loss_by_name_counts_wrong_decisions() -> None:
    model = network()
    model.add(layers.Softmax())
    setup = {"model": model, "train": (X, Y), "loss": "sparse_categorical_crossentropy"}
    gap = answers(setup, "gap")["gap"]
    assert (gap.unit, gap.measure) == ("nats", "loss")
    assert gap.error_running is not None


def test_samples_are_cut_exchanged_and_shuffled() -> None:
    batches = prepared({"model": network(), "train": (X[:80], Y[:80])}).train
    assert [b.samples for b in batches] == [32, 32, 16]
    pool = Pool(batches)
    which = torch.tensor([70, 3, 40])
    taken = pool.take(which)
    assert np.array_equal(taken.args[0], X[which.numpy()])
    assert np.array_equal(taken.target, Y[which.numpy()])
    mixed = exchanged(batches[0], batches[1], 20)
    assert np.array_equal(mixed.args[0], np.concatenate([X[:20], X[52:64]]))
    others, order = shuffled(batches, [32, 32, 16], seed=1)
    assert sorted(order.tolist()) == list(range(80))
    assert np.array_equal(others[2].args[0], X[order[64:].numpy()])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"train": (X, Y), "metric": len}, "gives `metric`, which is not known of Keras models"),
        ({}, "gives no `train`"),
        ({"train": []}, "`train` gives no batch"),
        ({"train": 3}, "`train` is a int, but arrays"),
    ],
)
def test_setups_that_cannot_be_used(given: Any, told: str) -> None:
    with pytest.raises(NormscopeError, match=told):
        normscope.probe({"model": network(), **given}, "gap")


def test_what_keras_models_cannot_be_asked_is_told() -> None:
    diagnosis = normscope.probe({"model": network(), "train": (X, Y)}, "regularization")
    [event] = diagnosis.recording.events_of("not-probed")
    assert "regularization: Keras models cannot be asked this yet" in event.detail
    lone = keras.Sequential([keras.Input((8,)), layers.Dense(2)])
    diagnosis = normscope.probe({"model": lone, "train": (X, Y)}, "batch_size")
    [event] = diagnosis.recording.events_of("not-probed")
    assert "no batch norm that training runs with batch statistics" in event.detail
