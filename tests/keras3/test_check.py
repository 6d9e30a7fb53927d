"""`check` of Keras models: what is wrong, in Keras' words, at the user's line; and silence on what people do on purpose."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import normscope
from normscope.checking import check_target
from normscope.checking.inputs import InputSpec
from normscope.errors import NormscopeError


def shaped(*shape):
    return keras.KerasTensor(shape)


def codes(diagnosis, *, least="warning"):
    return {f.code for f in diagnosis.findings if least == "info" or f.severity != "info"}


def stack(*parts, shape=(6,)):
    return keras.Sequential([layers.Input(shape), *parts])


def image(*parts):
    return stack(*parts, shape=(8, 8, 3))


class Net(keras.Model):
    """One norm between two maps, called as `how` says."""

    def __init__(self, how):
        super().__init__()
        self.into, self.out = layers.Dense(6), layers.Dense(2)
        self.norm, self.how = layers.BatchNormalization(), how

    def call(self, x, training=None):
        return self.out(ops.relu(self.how(self.norm, self.into(x), training)))


FAULTY = {
    "momentum of PyTorch": (
        "NS201",
        lambda: stack(layers.Dense(4), layers.BatchNormalization(momentum=0.1), layers.Dense(1)),
    ),
    "features last, positions normalized": (
        "NS105",
        lambda: stack(
            layers.Dense(12), layers.BatchNormalization(axis=1), layers.Dense(1), shape=(12, 5)
        ),
    ),
    "positions of a map": (
        "NS105",
        lambda: image(layers.Conv2D(4, 3), layers.BatchNormalization(axis=1), layers.Conv2D(2, 3)),
    ),
    "channels first, last axis": (
        "NS105",
        lambda: stack(
            layers.Conv2D(4, 3, data_format="channels_first"),
            layers.BatchNormalization(axis=-1),
            layers.Flatten(),
            shape=(3, 8, 8),
        ),
    ),
    "flag fixed": ("NS111", lambda: (Net(lambda n, x, t: n(x, training=True)), shaped(4, 6))),
    "built in call": (
        "NS110",
        lambda: (Net(lambda n, x, t: layers.BatchNormalization()(x)), shaped(4, 6)),
    ),
    "one value for each group": (
        "NS112",
        lambda: stack(layers.Dense(4), layers.GroupNormalization(groups=-1), layers.Dense(1)),
    ),
    "scale 0 on a plain path": (
        "NS203",
        lambda: stack(
            layers.Dense(4), layers.BatchNormalization(gamma_initializer="zeros"), layers.Dense(1)
        ),
    ),
    "scale drawn around 0": (
        "NS204",
        lambda: stack(
            layers.Dense(64),
            layers.BatchNormalization(
                gamma_initializer=keras.initializers.RandomNormal(0, 0.05, seed=0)
            ),
            layers.Dense(1),
        ),
    ),
    "epsilon that was meant as momentum": (
        "NS205",
        lambda: stack(layers.Dense(4), layers.BatchNormalization(epsilon=0.8), layers.Dense(1)),
    ),
    "renormalization without bounds": (
        "NS207",
        lambda: stack(layers.Dense(4), layers.BatchNormalization(renorm=True), layers.Dense(1)),
    ),
}


@pytest.mark.filterwarnings("ignore:`build..` was called")
@pytest.mark.parametrize("name", FAULTY)
def test_faulty(name):
    code, make = FAULTY[name]
    made = make()
    model, *inputs = made if isinstance(made, tuple) else (made,)
    assert code in codes(normscope.check(model, *inputs)), name


def residual():
    x = keras.Input((8, 8, 4))
    y = layers.BatchNormalization(gamma_initializer="zeros")(
        layers.Conv2D(4, 3, padding="same", use_bias=False)(x)
    )
    return keras.Model(x, layers.Add()([x, y]))


def mask_and_recurrence():
    x = keras.Input((9,), dtype="int32")
    y = layers.Bidirectional(layers.LSTM(4))(layers.Embedding(20, 6, mask_zero=True)(x))
    return keras.Model(x, layers.Dense(1)(layers.LayerNormalization()(y)))


def frozen():
    body = image(
        layers.Conv2D(4, 3, use_bias=False),
        layers.BatchNormalization(),
        layers.GlobalMaxPooling2D(),
    )
    body.trainable = False
    x = keras.Input((8, 8, 3))
    return keras.Model(x, layers.Dense(2)(body(x, training=False)))


def transformer():
    x = keras.Input((10, 16))
    y = (
        layers.MultiHeadAttention(2, 8)(
            layers.LayerNormalization()(x), layers.LayerNormalization()(x)
        )
        + x
    )
    y = (
        layers.Dense(16)(
            layers.Dense(32, activation="gelu")(layers.LayerNormalization(epsilon=1e-6)(y))
        )
        + y
    )
    return keras.Model(x, layers.Dense(3)(layers.GlobalAveragePooling1D()(y)))


HEALTHY = {
    "defaults": lambda: stack(
        layers.Dense(4, use_bias=False), layers.BatchNormalization(), layers.ReLU(), layers.Dense(1)
    ),
    "momentum 0.9": lambda: stack(
        layers.Dense(4), layers.BatchNormalization(momentum=0.9), layers.Dense(1)
    ),
    "momentum 0.999, epsilon 1e-5": lambda: stack(
        layers.Dense(4), layers.BatchNormalization(momentum=0.999, epsilon=1e-5), layers.Dense(1)
    ),
    "momentum 0.5": lambda: stack(
        layers.Dense(4), layers.BatchNormalization(momentum=0.5), layers.Dense(1)
    ),
    "channels first, axis 1": lambda: stack(
        layers.Conv2D(4, 3, data_format="channels_first"),
        layers.BatchNormalization(axis=1),
        layers.Flatten(),
        layers.Dense(1),
        shape=(3, 8, 8),
    ),
    "axis 3 by number": lambda: image(
        layers.Conv2D(4, 3), layers.BatchNormalization(axis=3), layers.Flatten(), layers.Dense(1)
    ),
    "padded and strided": lambda: image(
        layers.ZeroPadding2D(1),
        layers.Conv2D(4, 3, strides=2),
        layers.BatchNormalization(),
        layers.Activation("swish"),
        layers.Flatten(),
        layers.Dense(1),
    ),
    "sequence of features": lambda: stack(
        layers.Conv1D(4, 3),
        layers.BatchNormalization(),
        layers.GlobalMaxPooling1D(),
        layers.Dense(1),
        shape=(12, 12),
    ),
    "moved to the front on purpose": lambda: stack(
        layers.Dense(12),
        layers.Permute((2, 1)),
        layers.BatchNormalization(axis=1),
        layers.Flatten(),
        layers.Dense(1),
        shape=(12, 5),
    ),
    "scale 0 at the end of a branch": residual,
    "no scale, no shift": lambda: stack(
        layers.Dense(4), layers.BatchNormalization(scale=False, center=False), layers.Dense(1)
    ),
    "light dropout": lambda: stack(
        layers.Dense(4), layers.Dropout(0.1), layers.BatchNormalization(), layers.Dense(1)
    ),
    "layer norm over channels of a map": lambda: image(
        layers.Conv2D(4, 3), layers.LayerNormalization(), layers.Flatten(), layers.Dense(1)
    ),
    "groups": lambda: image(
        layers.Conv2D(8, 3), layers.GroupNormalization(4), layers.Flatten(), layers.Dense(1)
    ),
    "instance norm of a map": lambda: image(
        layers.Conv2D(8, 3), layers.GroupNormalization(-1), layers.Flatten(), layers.Dense(1)
    ),
    "renormalization within bounds": lambda: stack(
        layers.Dense(4),
        layers.BatchNormalization(
            renorm=True, renorm_clipping={"rmax": 3, "rmin": 1 / 3, "dmax": 5}
        ),
        layers.Dense(1),
    ),
    "mask and recurrence": mask_and_recurrence,
    "frozen body": frozen,
    "transformer": transformer,
    "flag handed on": lambda: (Net(lambda n, x, t: n(x, training=t)), shaped(4, 6)),
    "flag left to Keras": lambda: (Net(lambda n, x, t: n(x)), shaped(4, 6)),
    "input standardized by its statistics": lambda: stack(
        layers.Normalization(mean=0.5, variance=2.0),
        layers.Dense(4),
        layers.BatchNormalization(),
        layers.Dense(1),
    ),
    "along time": lambda: stack(
        layers.TimeDistributed(
            image(layers.Conv2D(4, 3), layers.BatchNormalization(), layers.GlobalAveragePooling2D())
        ),
        layers.LSTM(3),
        shape=(5, 8, 8, 3),
    ),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy(name):
    made = HEALTHY[name]()
    model, *inputs = made if isinstance(made, tuple) else (made,)
    diagnosis = normscope.check(model, *inputs)
    assert not codes(diagnosis), diagnosis.findings
    assert diagnosis.recording.graphs
    assert not diagnosis.coverage.notes


def test_facts_of_a_layer():
    model = stack(
        layers.Dense(4),
        layers.BatchNormalization(momentum=0.95, epsilon=1e-4, scale=False, name="n"),
    )
    model.get_layer("n").trainable = False
    model.get_layer("n").moving_mean.assign(np.ones(4))
    recording = normscope.check(model).recording
    [layer] = recording.layers.values()
    assert (layer.path, layer.channels, layer.eps, layer.momentum) == ("n", 4, 1e-4, 0.05)
    assert (layer.affine, layer.trainable, layer.fresh_at_start) == (True, False, False)
    assert recording.channels[layer.id].running_mean.tolist() == [1, 1, 1, 1]
    assert recording.framework == "keras"


FILE = """
import os
os.environ.setdefault("KERAS_BACKEND", "torch")
import keras
from keras import layers

def wrong():
    x = keras.Input((12, 5))
    y = layers.Dense(12)(x)
    y = layers.BatchNormalization(
        axis=1, name="norm")(y)
    return keras.Model(x, layers.Dense(1)(y))

def open_sizes():
    x = keras.Input((None, None, 3))
    return keras.Model(x, layers.BatchNormalization()(layers.Conv2D(4, 3, use_bias=False)(x)))

def tensor():
    return layers.Dense(3)(keras.Input((4,)))

def two():
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    return keras.Model({"a": a, "b": b}, layers.Add()([layers.LayerNormalization()(a), b]))
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(FILE)
    return tmp_path / "nets.py"


def test_the_line_is_where_the_layer_was_made(file):
    diagnosis = check_target("nets.py:wrong")
    found = next(f for f in diagnosis.findings if f.code == "NS105")
    assert (found.severity, found.layers) == ("error", ("norm",))
    assert str(found.site).endswith("nets.py:10")
    assert "axis=-1" in found.repairs[0].command


def test_sizes_that_a_model_leaves_open(file):
    assert len(check_target("nets.py:open_sizes").recording.graphs) == 2


def test_inputs_by_name(file):
    given = [InputSpec((2, 4)), InputSpec((2, 4))]
    graph = check_target("nets.py:two", given).recording.graphs[0]
    assert [n.shape for n, _ in graph.norms()] == [(2, 4)]


def test_a_tensor_is_no_model(file):
    with pytest.raises(NormscopeError, match=r"KerasTensor of shape .*return keras\.Model"):
        check_target("nets.py:tensor")


def test_an_input_that_does_not_fit(file):
    with pytest.raises(NormscopeError, match="Calling the model with training=True"):
        check_target("nets.py:wrong", [InputSpec((2, 3))])


@pytest.mark.filterwarnings(
    "ignore:__array__ implementation"
)  # Keras' own, with numpy 2 and PyTorch
@pytest.mark.parametrize("name", ["w.weights.h5", "m.keras"])
def test_weights(tmp_path, name):
    def make():
        return stack(layers.Dense(4), layers.BatchNormalization(name="n"), layers.Dense(1))

    trained = make()
    trained.get_layer("n").moving_variance.assign(np.full(4, np.nan))
    (trained.save if name.endswith(".keras") else trained.save_weights)(tmp_path / name)
    from normscope.checking import keras as checking

    model = make()
    loaded = checking.load_into(model, tmp_path / name)
    recording = checking.static_recording(model, None, target="x", loaded=loaded)
    from normscope.diagnosis import diagnose

    assert "NS501" in codes(diagnose(recording))


def test_weights_that_are_none(tmp_path):
    from normscope.checking import keras as checking

    (tmp_path / "x.weights.h5").write_bytes(b"no")
    with pytest.raises(NormscopeError, match="does not fit the model"):
        checking.load_into(stack(layers.Dense(4)), tmp_path / "x.weights.h5")
    with pytest.raises(NormscopeError, match="There is no checkpoint"):
        checking.load_into(stack(layers.Dense(4)), tmp_path / "y.weights.h5")
