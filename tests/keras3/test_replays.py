"""What replayed batches show of Keras models: values, padding, dropout and independence, against what is known of them."""

from __future__ import annotations

import random
from typing import Any

import keras
import numpy as np
import pytest
import torch
from keras import layers

from normscope.errors import NormscopeError
from normscope.probes.keras import replays
from normscope.record.keras.backends import current
from normscope.record.keras.batches import Kept

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def draws(*shape: int, count: int = 14, scale: float = 1.0, seed: int = 0) -> list[Kept]:
    rng = np.random.default_rng(seed)
    return [
        Kept(((scale * rng.normal(size=shape)).astype("float32"),), {}, shape[0], 1, i)
        for i in range(count)
    ]


def asked(model: Any, batches: list[Kept], seconds: float = 60.0) -> Any:
    norms = [x for x in model._flatten_layers() if isinstance(x, layers.BatchNormalization)]
    subject = replays.Subject(
        model, 7, "Net", dict(enumerate(norms)), {i: n.name for i, n in enumerate(norms)}, current()
    )
    return replays.measure(subject, batches, seconds=seconds)


def test_channels_that_are_never_positive() -> None:
    model = keras.Sequential([keras.Input((4, 4, 6)), layers.BatchNormalization(), layers.ReLU()])
    model.layers[0].beta.assign([-100.0, -100.0, -100.0, 0.0, 0.0, 0.0])
    model.layers[0].gamma.assign([1.0, 1.0, 0.01, 1.0, 1.0, 1.0])
    [channels] = asked(model, draws(16, 4, 4, 6))["signal"].channels
    assert (channels.path, channels.channels) == ("batch_normalization", 6)
    assert channels.silent == pytest.approx(0.5)
    assert channels.faded == pytest.approx(1 / 6)
    assert channels.collapsed == 0


@pytest.mark.parametrize("in_front", [True, False])
def test_padding_in_front_of_sequences_and_behind(in_front: bool) -> None:
    rng = np.random.default_rng(0)
    batches = draws(16, 12, 3, count=8)
    for batch in batches:
        [x] = batch.args
        x += 5
        for row in x:
            gone = rng.integers(1, 9)
            row[slice(0, gone) if in_front else slice(12 - gone, 12)] = 0
    plain = keras.Sequential([keras.Input((12, 3)), layers.BatchNormalization()])
    found = asked(plain, batches)["padding"]
    whole = np.concatenate([b.args[0].reshape(-1, 3) for b in batches])
    real = whole[whole.any(1)]
    assert found.share == pytest.approx(1 - len(real) / len(whole))
    [norm] = found.layers
    shift = np.abs(whole.mean(0) - real.mean(0)) / np.sqrt(real.var(0) + 1e-3)
    assert norm.shift == pytest.approx(np.median(shift), rel=0.02)
    masked = keras.Sequential([keras.Input((12, 3)), layers.Masking(), layers.BatchNormalization()])
    assert asked(masked, batches)["padding"].layers == ()


def test_dropout_before_a_norm() -> None:
    model = keras.Sequential([keras.Input((8,)), layers.Dropout(0.5), layers.BatchNormalization()])
    [shift] = asked(model, draws(256, 8))["dropout"].layers
    assert shift.off_on == pytest.approx(0.5, rel=0.05)  # of x·mask/(1−p) the variance is twice x's
    assert shift.off_running == pytest.approx(1.0, rel=0.05)
    without = keras.Sequential([keras.Input((8,)), layers.BatchNormalization()])
    assert "dropout" not in asked(without, draws(16, 8))


def test_saturated_activations_by_layer() -> None:
    model = keras.Sequential([
        keras.Input((6, 6, 3)),
        layers.Conv2D(4, 3, activation="tanh", kernel_initializer="ones", name="c"),
        layers.BatchNormalization(),
        layers.Flatten(),
        layers.Dense(5, kernel_initializer="zeros", name="d"),
        layers.Activation("sigmoid", name="s"),
    ])  # fmt: skip
    tanh, sigmoid = asked(model, draws(16, 6, 6, 3, scale=100))["signal"].activations
    assert (tanh.path, tanh.function) == ("c", "tanh")
    assert tanh.saturated > 0.9
    assert (sigmoid.path, sigmoid.function, sigmoid.saturated) == ("s", "sigmoid", 0.0)


@pytest.mark.parametrize("alike", [True, False])
def test_batches_of_samples_that_resemble_each_other(alike: bool) -> None:
    batches = draws(16, 5, count=20)
    shared = np.random.default_rng(1).normal(size=(20, 5)).astype("float32")
    for batch, offset in zip(batches, shared, strict=True):
        batch.args[0][:] += 2 * offset * alike
    model = keras.Sequential([keras.Input((5,)), layers.BatchNormalization()])
    found = asked(model, batches)["independence"]
    assert {p.path for p in found.places} == {"", "batch_normalization"}
    assert (found.p <= 0.01) == alike
    assert (min(p.n_eff for p in found.places) < 3) == alike


def test_a_norm_with_a_call_of_its_own_is_seen() -> None:
    class Own(layers.BatchNormalization):
        def call(self, inputs: Any, training: Any = None) -> Any:
            return super().call(inputs, training=training)

    model = keras.Sequential([keras.Input((5,)), Own()])
    assert len(asked(model, draws(16, 5))["signal"].channels) == 1


def test_the_model_is_left_as_it_was() -> None:
    model = keras.Sequential([
        keras.Input((5,)), layers.Dropout(0.5), layers.BatchNormalization(), layers.Activation("tanh"),
    ])  # fmt: skip
    before = [v.numpy() if hasattr(v, "numpy") else np.array(v) for v in model.variables]
    states = (torch.get_rng_state().clone(), random.getstate())
    asked(model, draws(16, 5))
    for variable, value in zip(model.variables, before, strict=True):
        assert np.array_equal(keras.ops.convert_to_numpy(variable), value)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert not any("call" in vars(x) for x in model.layers)


def test_too_little_to_ask() -> None:
    model = keras.Sequential([keras.Input((5,)), layers.BatchNormalization()])
    with pytest.raises(NormscopeError, match="fewer than two training batches"):
        asked(model, draws(16, 5, count=1))
    with pytest.raises(NormscopeError, match="replaying it would take about"):
        asked(model, draws(16, 5), seconds=1e-9)
