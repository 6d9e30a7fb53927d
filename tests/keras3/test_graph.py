"""The graph of a Keras model: every layer and operation by its meaning, with its path, and the model left as it was."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from normscope.graph.keras import capture
from normscope.graph.keras.values import read
from normscope.graph.model import (
    Activation,
    Affine,
    Cast,
    Dropout,
    Input,
    Norm,
    Opaque,
    Output,
    View,
)

HIDDEN = (Cast, Input, Output, View)


def shaped(*shape, dtype="float32"):
    return keras.KerasTensor(shape, dtype)


def told(graph):
    """`kind path` of every node that computes something, in order."""

    def word(op):
        match op:
            case Norm():
                return f"{op.kind} norm{' of the batch' if op.kind == 'batch' and op.batch_stats else ''}"
            case Affine() | Activation() | Opaque():
                return getattr(op, "kind", None) or op.name
            case Dropout():
                return "dropout" if op.active else "no dropout"
            case _:
                return type(op).__name__.lower()

    return [f"{word(n.op)} {n.path}".strip() for n in graph if not isinstance(n.op, HIDDEN)]


def state_of(model):
    values = [read(w) for w in model.variables]
    nodes = [(len(x._inbound_nodes), len(x._outbound_nodes)) for x in model._flatten_layers()]
    return values, nodes, list(model.losses), [x.built for x in model._flatten_layers()]


def captured(model, *inputs, training=True):
    """The graph, after checking that capturing it changed nothing."""
    if not model.built:
        model(*inputs)
    values, *rest = state_of(model)
    graph = capture(model, inputs, training=training)
    again, *rest_again = state_of(model)
    assert all(np.array_equal(a, b) for a, b in zip(values, again, strict=True))
    assert rest == rest_again
    return graph


def test_a_functional_model():
    x = keras.Input((8, 8, 3))
    y = layers.Conv2D(4, 3, padding="same", name="c", activation="relu")(x)
    y = layers.BatchNormalization(name="n", momentum=0.9, epsilon=1e-4)(y)
    y = layers.GlobalAveragePooling2D(name="p")(layers.Dropout(0.3, name="d")(y))
    graph = captured(keras.Model(x, layers.Dense(2, name="o")(y)), shaped(6, 8, 8, 3))
    assert told(graph) == [
        "conv c",
        "relu c",
        "batch norm of the batch n",
        "dropout d",
        "pool p",
        "linear o",
    ]
    [(node, norm)] = graph.norms()
    assert norm == Norm("batch", channels=4, eps=1e-4, momentum=0.1, axis=3, values=6 * 8 * 8)
    assert node.shape == (6, 8, 8, 4)
    assert graph.coverage.opaque == ()


def test_inference():
    model = keras.Sequential(
        [layers.Input((5,)), layers.Dense(4), layers.BatchNormalization(), layers.Dropout(0.5)]
    )
    graph = captured(model, shaped(3, 5), training=False)
    assert told(graph) == ["linear dense", "batch norm batch_normalization", "no dropout dropout"]


def test_a_frozen_layer_uses_its_moving_statistics_in_training():
    norm = layers.BatchNormalization(name="n")
    norm.trainable = False
    graph = captured(keras.Sequential([layers.Input((5,)), norm]), shaped(3, 5))
    assert told(graph) == ["batch norm n"]


class Block(layers.Layer):
    def __init__(self, width, **words):
        super().__init__(**words)
        self.lin = layers.Dense(width, name="lin")
        self.norm = layers.LayerNormalization(name="norm")

    def call(self, x, training=None):
        return ops.relu(self.norm(self.lin(x))) + x


class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.blocks = [Block(6, name=f"b{i}") for i in range(2)]
        self.head = layers.Dense(1, name="head")

    def call(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(ops.mean(x, axis=1))


def test_a_subclassed_model_is_followed():
    graph = captured(Net(), shaped(4, 9, 6))
    block = ["linear b{}/lin", "layer norm b{}/norm", "relu b{}", "add b{}"]
    expected = [w.format(i) for i in range(2) for w in block]
    assert told(graph)[:8] == expected
    sites = {n.site.line for n in graph if isinstance(n.op, Activation)}
    assert sites == {Block.call.__code__.co_firstlineno + 1}


def test_a_model_that_was_never_called_is_built():
    model = Net()
    assert not model.built
    assert len(list(captured(model, shaped(4, 9, 6)).norms())) == 2
    assert model.built


def test_a_shared_layer_is_one_place_with_several_calls():
    a, b = keras.Input((6,)), keras.Input((6,))
    norm = layers.BatchNormalization(name="n")
    model = keras.Model([a, b], [layers.Concatenate()([norm(a), norm(b)]), norm(a) * 2.0])
    graph = captured(model, [shaped(4, 6), shaped(4, 6)])
    assert len(graph.at("n")) == 3
    assert sum(isinstance(n.op, Output) for n in graph) == 2
    assert sum(isinstance(n.op, Input) for n in graph) == 2


def test_nested_models():
    inner = keras.Sequential(
        [layers.Input((6,)), layers.Dense(6, name="d"), layers.BatchNormalization(name="n")],
        name="in",
    )
    x = keras.Input((6,))
    graph = captured(keras.Model(x, inner(inner(x))), shaped(4, 6))
    assert told(graph) == ["linear in/d", "batch norm of the batch in/n"] * 2


def test_layers_along_time():
    x = keras.Input((5, 8, 3))
    y = layers.TimeDistributed(
        keras.Sequential([layers.Conv1D(4, 3), layers.BatchNormalization(name="n")], name="s"),
        name="t",
    )(x)
    y = layers.TimeDistributed(layers.Flatten(), name="f")(y)
    y = layers.Bidirectional(layers.GRU(3, name="g"), name="b")(y)
    graph = captured(keras.Model(x, y), shaped(2, 5, 8, 3))
    assert told(graph) == [
        "conv t/s/conv1d",
        "batch norm of the batch t/s/n",
        "GRU b/forward_g",
        "GRU b/backward_g",
        "concat b",
    ]
    assert graph.coverage.uncalled == ()


class Cell(layers.Layer):
    def __init__(self, units):
        super().__init__(name="cell")
        self.state_size = units
        self.into, self.back = layers.Dense(units, name="into"), layers.Dense(units, name="back")
        self.norm = layers.BatchNormalization(name="norm")

    def build(self, shape):
        for layer, width in (
            (self.into, shape[-1]),
            (self.back, self.state_size),
            (self.norm, self.state_size),
        ):
            layer.build((None, width))
        self.built = True

    def call(self, x, states, training=None):
        h = ops.tanh(self.norm(self.into(x) + self.back(states[0]), training=training))
        return h, [h]


def test_a_cell_of_the_users_own_is_followed_step_by_step():
    graph = captured(
        keras.Sequential([layers.Input((7, 3)), layers.RNN(Cell(4), name="r")]), shaped(2, 7, 3)
    )
    norms = graph.at("r/cell/norm")
    assert len(norms) == 3
    assert graph.coverage.opaque == ("RNN",)


class Always(layers.BatchNormalization):
    def call(self, inputs, training=None, mask=None):
        return super().call(inputs, training=True, mask=mask)


def test_a_subclass_that_fixes_its_flag():
    graph = captured(
        keras.Sequential([layers.Input((6,)), Always(name="n")]), shaped(4, 6), training=False
    )
    assert told(graph) == ["batch norm of the batch n"]


class ByHand(layers.Layer):
    def build(self, shape):
        self.mean = self.add_weight(shape=shape[-1:], initializer="zeros", trainable=False)
        self.var = self.add_weight(shape=shape[-1:], initializer="ones", trainable=False)

    def call(self, x, training=False):
        mean, var = self.mean, self.var
        if training:
            mean, var = ops.moments(x, axes=[0])
            self.mean.assign(self.mean * 0.9 + mean * 0.1)
            self.var.assign(0.9 * self.var + 0.1 * var)
        return ops.batch_normalization(x, mean, var, axis=-1)


@pytest.mark.parametrize("training", [True, False])
def test_a_norm_written_by_hand(training):
    graph = captured(
        keras.Sequential([layers.Input((6,)), ByHand(name="n")]), shaped(4, 6), training=training
    )
    [(_, norm)] = graph.norms()
    assert (norm.batch_stats, norm.axis, norm.channels) == (training, 1, 6)


class Raw(layers.Layer):
    def __init__(self):
        super().__init__(name="raw")
        self.lin, self.norm = layers.Dense(5, name="lin"), layers.BatchNormalization(name="norm")

    def build(self, shape):
        self.lin.build(shape)
        self.norm.build((None, 5))
        self.built = True

    def call(self, x, training=None):
        y = self.lin(x)
        return y.clone() if isinstance(y, keras.KerasTensor) else self.norm(y.sin()).cos()


@pytest.mark.skipif(keras.config.backend() != "torch", reason="uses tensors of PyTorch")
def test_what_asks_for_values_is_opaque_and_the_layers_inside_are_not():
    x = keras.Input((6,))
    graph = captured(keras.Model(x, layers.Dense(2, name="o")(Raw()(x))), shaped(4, 6))
    assert told(graph) == [
        "linear raw/lin",
        "unseen raw",
        "batch norm of the batch raw/norm",
        "Raw raw",
        "linear o",
    ]
    assert "raw" in graph.coverage.note


class Inside(keras.Model):
    def __init__(self):
        super().__init__()
        self.lin = layers.Dense(4, name="lin")

    def call(self, x):
        return layers.BatchNormalization(name="new")(self.lin(x))


def test_a_norm_built_inside_call_is_marked():
    assert told(captured(Inside(), shaped(4, 6))) == ["linear lin", "batch norm of the batch new()"]


def test_a_fixed_flag_is_handed_on_to_what_comes_after():
    """As Keras does it: the argument of one call holds for all later ones inside the outermost call."""

    class Fixed(keras.Model):
        def __init__(self):
            super().__init__()
            self.norm, self.drop = (
                layers.BatchNormalization(name="n"),
                layers.Dropout(0.5, name="d"),
            )

        def call(self, x):
            return self.drop(self.norm(x, training=True))

    model = Fixed()
    graph = captured(model, shaped(4, 6), training=False)
    assert told(graph) == ["batch norm of the batch n", "dropout d"]
    rows = np.random.default_rng(0).normal(size=(64, 6)).astype("float32")
    out = model(rows, training=False)
    out = out.detach().numpy() if hasattr(out, "detach") else np.asarray(out)
    assert 0.2 < (out == 0).mean() < 0.8


def test_a_bias_that_is_added_by_an_operation_belongs_to_its_map():
    class Linear(layers.Layer):
        def build(self, shape):
            self.w = self.add_weight(shape=(shape[-1], 3))
            self.b = self.add_weight(shape=(3,))

        def call(self, x):
            return ops.matmul(x, self.w) + self.b

    graph = captured(keras.Sequential([layers.Input((6,)), Linear(name="l")]), shaped(4, 6))
    assert [n.op for n in graph if n.path == "l"] == [Affine("linear", bias=3, axis=1)]


def test_group_and_rms_norms():
    x = keras.Input((4, 4, 8))
    y = layers.GroupNormalization(groups=2, name="g")(x)
    y = layers.GroupNormalization(groups=-1, name="i")(y)
    y = layers.RMSNormalization(name="r")(layers.LayerNormalization(axis=(1, 2, 3), name="l")(y))
    ops_of = {n.path: op for n, op in captured(keras.Model(x, y), shaped(3, 4, 4, 8)).norms()}
    assert (ops_of["g"].groups, ops_of["g"].values) == (2, 64)
    assert (ops_of["i"].groups, ops_of["i"].values) == (8, 16)
    assert (ops_of["l"].values, ops_of["l"].axis) == (128, 1)
    assert (ops_of["r"].kind, ops_of["r"].values) == ("rms", 8)


def test_errors_are_the_models_own():
    class Wrong(keras.Model):
        def call(self, x):
            raise ValueError("no such thing")

    with pytest.raises(ValueError, match="no such thing"):
        capture(Wrong(), [shaped(4, 6)], training=True)
