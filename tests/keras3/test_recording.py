"""What the observer records of Keras models on PyTorch, against what is known of them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from keras import layers

from harm.commands import observed
from normscope.keras import Observer, finish, observe
from normscope.record.keras import calls
from normscope.record.recording import Recording
from normscope.record.store import Store, load

# Keras' own: `Variable.__array__` has no `copy`.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
RNG = np.random.default_rng(0)
X = RNG.normal(2.0, 3.0, size=(96, 5)).astype("float32")
Y = (X[:, 0] > 2).astype("int64")
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def network(**options: Any) -> keras.Model:
    norm = layers.BatchNormalization(**options)
    return keras.Sequential([keras.Input((5,)), norm, layers.Dense(4), layers.Dense(2)])


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[..., Recording]:
    """Run a function under observation and read what was recorded."""

    def run(script: Callable[[], Any], *, probe: bool = False) -> Recording:
        store = Store.create(tmp_path / "run.nscope")
        observer = observe(store, budget=1.0)
        script()
        finish(observer, probe=probe)
        store.close()
        return load(tmp_path / "run.nscope")

    return run


def step(model: keras.Model, optimizer: Any, x: Any, y: Any, **how: Any) -> None:
    model.zero_grad()
    LOSS(y, model(x, **how)).backward()
    weights = model.trainable_weights
    with torch.no_grad():
        optimizer.apply([w.value.grad for w in weights], weights)


def kinds(r: Recording) -> list[tuple[str, bool, int]]:
    return [(s.kind, r.patterns[s.pattern].training, s.forwards) for s in r.spans]


def test_fit_and_evaluate(recorded) -> None:
    def script() -> None:
        model = network()
        model.compile("adam", LOSS)
        model.fit(X, Y, batch_size=32, epochs=2, shuffle=False, verbose=0)
        model.evaluate(X, Y, batch_size=48, verbose=0)

    r = recorded(script)
    [layer] = r.layers.values()
    assert (r.framework, r.backend, r.steps, r.optimizers) == ("keras", "torch", 6, ["Adam"])
    assert kinds(r) == [("training", True, 6), ("inference", False, 2)]
    assert (layer.path, layer.channels, layer.eps) == ("batch_normalization", 5, 1e-3)
    assert (layer.momentum, layer.updates) == (pytest.approx(0.01), 6)
    assert (layer.fresh_at_start, layer.fresh_at_end) == (True, False)
    assert layer.site is not None
    assert layer.site.file.endswith("test_recording.py")
    assert r.spans[1].scored == 2


def test_batch_statistics_are_read_back_with_the_biased_variance(recorded) -> None:
    model = network(momentum=0.9)
    model.compile(keras.optimizers.SGD(0.0), LOSS)
    r = recorded(lambda: model.fit(X, Y, batch_size=32, epochs=1, shuffle=False, verbose=0))
    expected = [X[i : i + 32].var(0).min() for i in (0, 32, 64)]
    assert r.polls is not None
    found = dict(zip(r.polls.steps.tolist(), r.polls.values["batch_var_min"][:, 0], strict=True))
    assert [found[s] for s in (1, 2, 3)] == pytest.approx(expected, rel=1e-3)


def test_a_loop_without_training(recorded) -> None:
    model, optimizer = network(), keras.optimizers.SGD(0.1)

    def script() -> None:
        for _ in range(4):
            step(model, optimizer, X, Y)

    r = recorded(script)
    assert kinds(r) == [("training", False, 4)]
    [layer] = r.layers.values()
    assert (layer.updates, layer.fresh_at_end, r.steps) == (0, True, 4)


def test_an_evaluation_without_no_grad_is_inference(recorded) -> None:
    model, optimizer = network(), keras.optimizers.SGD(0.1)

    def script() -> None:
        for _ in range(4):
            step(model, optimizer, X, Y, training=True)
            LOSS(Y, model(X, training=False))

    r = recorded(script)
    assert {(k, t) for k, t, _ in kinds(r)} == {("training", True), ("inference", False)}
    assert sum(s.forwards for s in r.spans if s.kind == "inference") == 4
    assert sum(s.scored for s in r.spans) == 4


def test_a_frozen_layer_uses_its_moving_statistics(recorded) -> None:
    model, optimizer = network(), keras.optimizers.SGD(0.1)
    model.layers[0].trainable = False
    r = recorded(lambda: step(model, optimizer, X, Y, training=True))
    [(_, pattern, call)] = list(r.calls(next(iter(r.layers))))
    assert (pattern.training, call.batch_stats, call.updates) == (True, False, False)
    assert call.trainable is False


def test_gathered_gradients_are_one_step(recorded) -> None:
    model = network()
    model.compile(keras.optimizers.SGD(0.1, gradient_accumulation_steps=3), LOSS)
    r = recorded(lambda: model.fit(X, Y, batch_size=16, epochs=1, verbose=0))
    assert r.steps == 2
    [layer] = r.layers.values()
    assert layer.updates == 6


def test_an_optimizer_of_torch_steps(recorded) -> None:
    model = network()

    def script() -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            LOSS(Y, model(X, training=True)).backward()
            optimizer.step()

    r = recorded(script)
    assert r.steps == 3
    assert kinds(r) == [("training", True, 3)]


def test_the_gap_of_a_slow_average_and_everything_put_back(recorded) -> None:
    model = network(momentum=0.999)
    model.compile("adam", LOSS)
    left: list[Any] = []

    def script() -> None:
        model.fit(X, Y, batch_size=96, epochs=30, verbose=0)
        left.append(model.get_weights())

    r = recorded(script, probe=True)
    [gap] = r.measurements["gap"]
    assert gap.unit == "nats"
    assert gap.layers[0].mean_shift == pytest.approx(
        0.6, abs=0.15
    )  # 2 of 3, less what 30 updates did
    assert all(np.array_equal(a, b) for a, b in zip(left[0], model.get_weights(), strict=True))
    [channels] = r.channels.values()
    assert channels.population_mean == pytest.approx(X.mean(0), rel=1e-4)
    assert channels.population_var == pytest.approx(X.var(0), rel=1e-4)
    assert model.layers[0].momentum == 0.999


def test_an_error_of_ours_reaches_nobody(recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr(calls, "_sizes", broken)
    model = network()
    model.compile("adam", LOSS)
    r = recorded(lambda: model.fit(X, Y, epochs=1, verbose=0))
    [event] = r.events_of("observer-error")
    assert "ours" in event.detail
    assert not np.array_equal(model.get_weights()[2], np.zeros(5))


def test_a_script_that_imports_the_callback_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Importing it imports Keras, at which `normscope run` begins to observe."""
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    (tmp_path / "train.py").write_text(
        "from normscope.keras import Observer\n"
        "import keras, numpy as np\n"
        "model = keras.Sequential([keras.Input((3,)), keras.layers.BatchNormalization(), keras.layers.Dense(1)])\n"
        "model.compile('sgd', 'mse')\n"
        "x = np.random.default_rng(0).normal(size=(64, 3))\n"
        "model.fit(x, x[:, :1], batch_size=16, epochs=2, verbose=0, callbacks=[Observer()])\n"
    )
    done = observed("train.py", cwd=tmp_path, record=tmp_path / "run.nscope")
    assert done.returncode == 0, done.stderr
    r = load(tmp_path / "run.nscope")
    assert r.events_of("observer-error") == []
    assert (r.framework, r.steps) == ("keras", 8)


def test_the_callback_in_a_notebook() -> None:
    """Made in one cell, used by two others, and shown in a fourth; then another one can be made."""
    model = network(momentum=0.1)
    model.compile("adam", LOSS)
    observer = Observer(budget=1.0)
    model.fit(X, Y, batch_size=16, epochs=4, callbacks=[observer], verbose=0)
    model.fit(X, Y, batch_size=16, epochs=4, callbacks=[copy.deepcopy(observer)], verbose=0)
    model.evaluate(X, Y, verbose=0)
    page = observer._repr_html_()
    assert "NS201" in page
    assert observer.diagnose().recording.steps == 48
    again = Observer(budget=1.0)
    model.fit(X, Y, batch_size=32, epochs=1, callbacks=[again], verbose=0)
    assert again.diagnose().recording.steps == 3
    assert observer.diagnose().recording.steps == 48


def test_the_callback(tmp_path: Path) -> None:
    model = network(momentum=0.1)
    model.compile("adam", LOSS)
    observer = Observer(record=tmp_path / "fit.nscope", budget=1.0)
    model.fit(
        X, Y, batch_size=16, epochs=8, validation_data=(X, Y), callbacks=[observer], verbose=0
    )
    diagnosis = observer.diagnose()
    assert diagnosis.recording.steps == 48
    assert diagnosis.verdict.primary == "NS201"
    assert "momentum=0.1" in diagnosis.findings[0].message


class Own(layers.BatchNormalization):
    """All by itself; it may forget to keep its averages."""

    def __init__(self, keeps: bool, **words: Any) -> None:
        super().__init__(**words)
        self.keeps = keeps

    def call(self, x: Any, training: Any = None) -> Any:
        if not training:
            return (x - self.moving_mean) * keras.ops.rsqrt(self.moving_variance + 1e-3)
        mean, var = keras.ops.moments(x, axes=0)
        if self.keeps:
            self.moving_mean.assign(0.9 * self.moving_mean + 0.1 * mean)
            self.moving_variance.assign(0.9 * self.moving_variance + 0.1 * var)
        return (x - mean) * keras.ops.rsqrt(var + 1e-3)


class Through(layers.BatchNormalization):
    """With a call of its own around Keras'."""

    def call(self, x: Any, training: Any = None) -> Any:
        return super().call(2 * x, training=training)


@pytest.mark.parametrize("keeps", [True, False])
def test_norms_with_a_call_of_their_own(recorded, keeps: bool) -> None:
    def script() -> None:
        model = keras.Sequential(
            [
                keras.Input((5,)),
                Own(keeps, center=False, scale=False),
                layers.Dense(4),
                Through(momentum=0.8),
                layers.Dense(2),
            ]
        )
        model.compile("adam", LOSS)
        model.fit(X, Y, batch_size=32, epochs=2, verbose=0)
        model.evaluate(X, Y, verbose=0)

    r = recorded(script)
    own, through = r.layers.values()
    assert (own.updates, own.fresh_at_end) == (6 * keeps, not keeps)
    assert through.updates == 6
    trained = [c for _, _, c in r.calls(own.id, "training")]
    assert [(c.batch_stats, c.updates, c.momentum) for c in trained] == [(True, keeps, None)]
    assert [c.momentum for _, _, c in r.calls(through.id, "training")] == pytest.approx([0.2])
    assert {c.batch_stats for _, _, c in r.calls(own.id, "inference")} == {False}
    assert r.events_of("observer-error") == []
