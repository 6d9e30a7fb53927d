"""Trials of Keras training functions and scripts: what each arm changes, and where it says that it cannot."""

from __future__ import annotations

import json
import random
from itertools import pairwise

import keras
import numpy as np
import pytest
from keras import layers

import normscope.trials
from normscope.trials.arms import arms_of
from normscope.trials.functions import run_once
from trials.conftest import desk  # noqa: F401

SAMPLES, BATCH = 44, 16
rng = np.random.default_rng(0)
X = rng.standard_normal((SAMPLES, 16)).astype("float32")
Y = (X[:, 0] > 0).astype("int32")


def read(value):
    value = getattr(value, "value", value)
    return value.detach().numpy().copy() if hasattr(value, "detach") else np.array(value)


def net(**norm):
    return keras.Sequential(
        [
            layers.Input((16,)),
            layers.Dense(16),
            layers.BatchNormalization(name="norm", **norm),
            layers.ReLU(),
            layers.Dense(2),
        ]
    )


def compiled(model, optimizer=None):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer or keras.optimizers.SGD(0.1, weight_decay=0.01), loss)
    return model


def trained(model=None, **words):
    words = {"batch_size": BATCH, "epochs": 2, "verbose": 0, **words}
    model = compiled(model or net())
    return model.fit(X, Y, **words).history["loss"][-1]


def plain():
    keras.utils.set_random_seed(0)
    return trained()


def under(text, train=plain, *, seed=0, steps=None):
    chosen = arms_of("lr:x1")[0] if text == "as-is" else arms_of(text)[-1]
    return run_once(train, chosen, seed, steps=steps)


def test_the_unchanged_function_is_the_plain_one():
    assert under("as-is").metric == plain()
    assert under("as-is").steps == 2 * 3


DRAWS = {
    "set_random_seed": lambda: (keras.utils.set_random_seed(0), keras.random.normal((2,)))[1],
    "its Python": lambda: (keras.utils.set_random_seed(0), random.random())[1],
    "its NumPy": lambda: (keras.utils.set_random_seed(0), np.random.rand())[1],
    "SeedGenerator": lambda: keras.random.normal((2,), seed=keras.random.SeedGenerator(3)),
    "a seed": lambda: keras.random.normal((2,), seed=3),
    "initializer": lambda: keras.initializers.GlorotUniform(seed=3)((4, 4)),
    "orthogonal": lambda: keras.initializers.Orthogonal(seed=3)((4, 4)),
    "layer": lambda: layers.Dropout(0.5, seed=3)(np.ones((1, 40), "float32"), training=True),
    "unseeded": lambda: layers.Dense(3)(np.ones((1, 4), "float32")),
    "unseeded draw": lambda: keras.random.normal((2,)),
}


def drawn(draw, seed):
    kept = []

    def train():
        kept.append(read(draw()).ravel().tolist())
        return 0.0

    run = run_once(train, arms_of("lr:x1")[0], seed)
    assert run.status == "finished", run.reason
    return kept[0]


@pytest.mark.parametrize("name", DRAWS)
def test_every_seed_is_moved_and_reproducible(name):
    values = [drawn(DRAWS[name], seed) for seed in (0, 1, 2, 0, 1)]
    assert values[0] != values[1] != values[2] != values[0]
    assert (values[3], values[4]) == (values[0], values[1])
    if "unseeded" not in name:
        assert values[0] == read(DRAWS[name]()).ravel().tolist()


def test_configurations_tell_the_seed_that_was_given():
    def train():
        initializer = keras.initializers.GlorotUniform(seed=3)
        dropout = layers.Dropout(0.5, seed=3)
        assert initializer.get_config()["seed"] == 3
        assert dropout.seed_generator.get_config()["seed"] == 3
        again = keras.initializers.GlorotUniform.from_config(initializer.get_config())
        assert np.array_equal(read(initializer((2, 2))), read(again((2, 2))))
        return keras.ops.sum(initializer((2, 2)))

    assert under("as-is", train, seed=2).status == "finished"


def calling(x, **words):
    """What the norm layer gives for `x` after a training in the arm, and its variables before and after."""
    found = {}

    def train():
        keras.utils.set_random_seed(0)
        model = net(**words)
        before = [read(v).copy() for v in model.weights]
        loss = trained(model)
        norm = model.get_layer("norm")
        found.update(model=model, norm=norm, before=before, eval=read(norm(x, training=False)))
        return loss

    return train, found


@pytest.mark.parametrize("arm", ["group", "group:2", "layer"])
def test_another_norm_stands_in_the_layer(arm):
    train, found = calling(X)
    run = under(arm, train)
    assert (run.status, run.exchanged) == ("finished", 1), run.reason
    assert run.metric != plain()
    norm = found["norm"]
    assert isinstance(norm, layers.BatchNormalization)
    assert np.array_equal(read(norm.moving_mean), np.zeros(16)), "its statistics are not used"
    groups = {"group": 2, "group:2": 2, "layer": 1}[arm]  # eight channels each at least
    parts = X.reshape(SAMPLES, groups, -1)
    mean, var = parts.mean(-1, keepdims=True), parts.var(-1, keepdims=True)
    expected = ((parts - mean) / np.sqrt(var + norm.epsilon)).reshape(X.shape)
    expected = expected * read(norm.gamma) + read(norm.beta)
    assert np.allclose(found["eval"], expected, atol=1e-5)
    assert not np.array_equal(read(norm.gamma), np.ones(16)), "its scale was learned"
    again = found["model"](X[:3], training=False)
    assert np.allclose(read(keras.ops.softmax(again)).sum(1), 1, atol=1e-5), "batch norm is back"


@pytest.mark.parametrize("axis", [1, -1])
def test_instance_norm_and_groups_of_images(axis):
    shape = (12, 6, 6) if axis == 1 else (6, 6, 12)
    x = rng.standard_normal((4, *shape)).astype("float32")
    found = {}

    def train():
        norm = layers.BatchNormalization(axis=axis)
        found["y"] = read(norm(x, training=True))
        return 0.0

    assert under("instance", train).exchanged == 1
    spatial = (2, 3) if axis == 1 else (1, 2)
    assert np.allclose(found["y"].mean(spatial), 0, atol=1e-5)
    assert np.allclose(found["y"].std(spatial), 1, atol=5e-2)
    assert under("group:5", train).exchanged == 1
    each = np.moveaxis(found["y"], axis, 1).reshape(4, 4, -1)  # 4 divides 12
    assert np.allclose(each.mean(-1), 0, atol=1e-5)
    refused = under("instance", lambda: trained())
    assert refused.status == "not-applicable"
    assert "1 value" in refused.reason


def test_momentum_is_meant_as_keras_has_it():
    train, found = calling(X, momentum=0.99)
    run = under("momentum:0.5", train)
    assert (run.status, run.exchanged) == ("finished", 1)
    assert found["norm"].momentum == 0.5
    assert "0.5 in PyTorch's" in run.note
    never = under("momentum:1")
    assert never.status == "not-applicable"
    assert "never move" in never.reason


def test_no_normalization_begins_as_the_first_batch_has_it():
    train, found = calling(X)
    run = under("none", train)
    assert (run.status, run.exchanged) == ("finished", 1), run.reason
    norm = found["norm"]
    mean = read(norm.moving_mean)
    assert not np.array_equal(mean, np.zeros(16))
    sd = np.sqrt(read(norm.moving_variance) + norm.epsilon)
    assert np.allclose(
        found["eval"], (X - mean) / sd * read(norm.gamma) + read(norm.beta), atol=1e-5
    )
    assert norm.momentum == 0.99


def test_ghosts_have_statistics_of_their_own():
    found = {}

    def train():
        norm = layers.BatchNormalization(momentum=0.75)
        found["y"], found["mean"] = read(norm(X[:20], training=True)), read(norm.moving_mean)
        return 0.0

    assert under("ghost:8", train).exchanged == 1
    halves = X[:10], X[10:20]
    for half, y in zip(halves, (found["y"][:10], found["y"][10:]), strict=True):
        assert np.allclose(y, (half - half.mean(0)) / np.sqrt(half.var(0) + 1e-3), atol=1e-4)
    assert np.allclose(found["mean"], 0.25 * X[:20].mean(0), atol=1e-6)


def test_statistics_are_fixed_for_the_tail():
    kept = []

    def train():
        keras.utils.set_random_seed(0)
        model = net()
        norm = model.get_layer("norm")
        note = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda *_, **__: kept.append(read(norm.moving_mean).copy())
        )
        return trained(model, callbacks=[note])

    assert under("frozen-tail:0.5", train, steps=6).exchanged == 1
    same = [np.array_equal(a, b) for a, b in pairwise(kept)]
    assert same == [False, False, True, True, True]


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW"])
@pytest.mark.parametrize(
    ("arm", "entry"), [("lr:x0.5", "learning_rate"), ("wd:x3", "weight_decay")]
)
def test_rates_and_decays_are_scaled(optimizer, arm, entry):
    given = {"learning_rate": 0.01, "weight_decay": 0.02}

    def train_with(words):
        def train():
            keras.utils.set_random_seed(0)
            model = compiled(net(), getattr(keras.optimizers, optimizer)(**words))
            model.fit(X, Y, batch_size=BATCH, epochs=2, verbose=0)
            assert float(np.asarray(read(model.optimizer.learning_rate))) == pytest.approx(
                words["learning_rate"]
            )
            return float(sum(np.square(read(w)).sum() for w in model.trainable_weights))

        return train

    factor = float(arm.partition("x")[2])
    run = under(arm, train_with(given))
    assert run.changed == 1
    direct = train_with({**given, entry: given[entry] * factor})()
    assert run.metric == pytest.approx(direct, rel=1e-6)
    assert run.metric != train_with(given)()


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras' own
def test_a_schedule_and_a_callback_see_the_rate_that_they_know():
    seen = []

    def train():
        keras.utils.set_random_seed(0)
        model = compiled(net(), keras.optimizers.SGD(0.1))
        halve = keras.callbacks.LearningRateScheduler(
            lambda epoch, rate: seen.append(rate) or rate / 2
        )
        model.fit(X, Y, batch_size=BATCH, epochs=3, verbose=0, callbacks=[halve])
        return 0.0

    under("lr:x0.3", train)
    assert seen == pytest.approx([0.1, 0.05, 0.025])


def test_batches_of_another_size_where_fit_cuts_them():
    sizes, checked = [], []

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = net()

        def call(self, x, training=None):
            if not isinstance(x, keras.KerasTensor) and str(x.device) != "meta":
                (sizes if training else checked).append(len(x))
            return self.inner(x, training=training)

    def train():
        sizes.clear()
        checked.clear()
        model = compiled(Net())
        model.fit(X, Y, batch_size=BATCH, verbose=0, validation_data=(X, Y))
        return 0.0

    run = under("batch:4", train)
    assert (run.status, run.changed) == ("finished", 1)
    assert set(sizes) == {4}
    assert max(checked) == BATCH, "evaluation reads as it did"


def test_a_loader_of_pytorch_is_reached_as_in_pytorch():
    from torch import from_numpy
    from torch.utils.data import DataLoader, TensorDataset

    sizes = []

    def train():
        data = DataLoader(TensorDataset(from_numpy(X), from_numpy(Y)), BATCH, shuffle=True)
        sizes[:] = [len(x) for x, _ in data]
        compiled(net()).fit(data, shuffle=False, verbose=0)
        return 0.0

    assert under("drop-last", train).changed == 1
    assert set(sizes) == {BATCH}
    assert under("batch:4", train).changed == 1


def by_hand():
    model = compiled(net())
    return float(np.asarray(model.train_on_batch(X, Y)).ravel()[0])


def as_function():
    model = compiled(net())
    model.fit(X, Y, verbose=0)
    zero, one = np.zeros(16, "float32"), np.ones(16, "float32")
    keras.ops.batch_normalization(X, zero, one, -1)
    return 0.0


class Own(layers.BatchNormalization):
    def call(self, inputs, training=None, mask=None):
        return inputs * self.gamma + self.beta


def own_layer():
    model = keras.Sequential([layers.Input((16,)), Own(), layers.Dense(2)])
    return trained(model)


def without():
    return trained(keras.Sequential([layers.Input((16,)), layers.Dense(2)]))


@pytest.mark.parametrize(
    ("arm", "train", "said"),
    [
        ("group", without, "ran no BatchNormalization layer"),
        ("momentum:0.9", without, "ran no BatchNormalization layer"),
        ("group", as_function, "called as a function"),
        ("momentum:0.9", as_function, "called as a function"),
        ("group", own_layer, "Own computes batch norm by code of its own"),
        ("renorm", plain, "no batch renormalization for Keras"),
        ("batch:4", by_hand, "the script makes its batches"),
        ("drop-last", plain, "an incomplete last one included"),
        ("frozen-tail", plain, "counted no step"),
    ],
)
def test_what_does_not_apply_says_why(arm, train, said):
    run = under(arm, train)
    assert run.status == "not-applicable", run
    assert said in run.reason


def test_no_decay_to_scale():
    def train():
        return compiled(net(), keras.optimizers.SGD(0.1)).fit(X, Y, verbose=0).history["loss"][0]

    run = under("wd:x0", train)
    assert run.status == "not-applicable"
    assert "`weight_decay` other than 0" in run.reason


def test_layers_that_were_there_before_are_left_alone():
    before = layers.BatchNormalization()
    before(X)

    def train():
        before(X, training=True)
        return plain()

    assert under("group", train).exchanged == 1
    assert not np.array_equal(read(before.moving_mean), np.zeros(16))


def test_everything_is_as_before_afterwards():
    names = (
        lambda: layers.BatchNormalization.call,
        lambda: keras.Model.fit,
        lambda: keras.ops.batch_normalization,
        lambda: keras.random.SeedGenerator.__init__,
        lambda: keras.optimizers.Optimizer.apply,
        lambda: keras.optimizers.Optimizer._get_current_learning_rate,
    )
    was = [n() for n in names]
    keras.utils.set_random_seed(7)
    first = read(keras.random.normal((2,)))
    keras.utils.set_random_seed(7)
    for arm in ("group", "momentum:0.5", "lr:x2", "wd:x0", "batch:4", "none"):
        under(arm, seed=1)
    assert [n() for n in names] == was
    assert np.array_equal(read(keras.random.normal((2,))), first)


def test_a_keras_function_is_compared():
    found = normscope.trials.compare(
        plain, "group,momentum:0.9,random", seeds=3, higher_is_better=False
    )
    arms = {a.name: a for a in found.arms}
    assert arms["group"].compared.pairs == 3
    assert len({r.metric for r in arms["as-is"].runs}) == 3
    assert any("Keras' sense" in n for n in found.notes)


SCRIPT = """
    import os
    os.environ["KERAS_BACKEND"] = "{backend}"
    import keras, numpy as np
    from keras import layers
    keras.utils.set_random_seed(0)
    x = np.random.normal(size=(64, 8)).astype("float32"); y = (x[:, 0] > 0).astype("int32")
    model = keras.Sequential([layers.Input((8,)), layers.Dense(8), layers.BatchNormalization(), layers.Dense(2)])
    model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(x, y, batch_size=16, epochs=2, verbose=0)
    print(f"loss={{model.evaluate(x, y, verbose=0):.9f}}")
    model.save_weights("last.weights.h5")
    model.load_weights("last.weights.h5")
"""


@pytest.mark.parametrize(
    ("backend", "arms"),
    [
        pytest.param("torch", "group,batch:8", marks=pytest.mark.slow),
        pytest.param("torch", "momentum:0.5,lr:x0.3,renorm", marks=pytest.mark.slow),
        pytest.param("jax", "group,momentum:0.5,lr:x0.3,batch:8,renorm", marks=pytest.mark.slow),
        pytest.param(
            "tensorflow", "group,momentum:0.5,lr:x0.3,batch:8,renorm", marks=pytest.mark.slow
        ),
    ],
)
def test_scripts(desk, backend, arms):  # noqa: F811
    pytest.importorskip(backend)
    desk.write(SCRIPT.format(backend=backend))
    plain = desk.run("train.py")
    assert plain.returncode == 0, plain.stderr
    (desk.folder / "last.weights.h5").unlink()
    ended = desk.trial(
        "--arms", arms, "--seeds", "1", "--metric", "loss=(.*)", "--lower-is-better",
        "--format", "json", "--output", "t.json", "train.py",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    first = desk.folder / "train.trial.files" / "as-is-seed0"
    assert (first / "stdout").read_text() == plain.stdout
    assert not (desk.folder / "last.weights.h5").exists()
    told = {a["name"]: a for a in json.loads((desk.folder / "t.json").read_text())["arms"]}
    for name in arms.split(","):
        [run] = told[name]["runs"]
        if name == "renorm":
            assert run["reason"].startswith("there is no batch renormalization for Keras")
            continue
        assert run["status"] == "finished", run["reason"]
        assert run["metric"] != told["as-is"]["runs"][0]["metric"]
        assert run["exchanged"] + run["changed"] == 1
