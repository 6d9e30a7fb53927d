"""Every kind of Keras model gives each norm its path and the user's line, on every backend: the line of a `call` of the
user's that runs it, else the line that made it.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from normscope.checking import check_target

FILE = """\
import keras
from keras import layers, ops


class Block(layers.Layer):
    def __init__(self, width):
        super().__init__()
        self.lin = layers.Dense(width)
        self.norm = layers.BatchNormalization()

    def call(self, x, training=None):
        return ops.relu(self.norm(self.lin(x), training=training))  # block


class Cell(layers.Layer):
    def __init__(self):
        super().__init__()
        self.state_size = 4
        self.into, self.back = layers.Dense(4), layers.Dense(4)
        self.norm = layers.LayerNormalization()

    def build(self, shape):
        self.into.build((None, shape[-1]))
        self.back.build((None, 4))
        self.norm.build((None, 4))
        self.built = True

    def call(self, x, states):
        h = ops.tanh(self.norm(self.into(x) + self.back(states[0])))  # cell
        return h, [h]


class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.blocks = [Block(6) for _ in range(2)]
        self.head = layers.Dense(1)

    def call(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def subclassed():
    return Net(), keras.KerasTensor((4, 6))

def along_time():
    x = keras.Input((5, 6))
    inner = keras.Sequential([layers.Dense(4), layers.BatchNormalization(name="n")], name="s")  # time
    y = layers.Bidirectional(layers.GRU(3, name="g"), name="b")(layers.TimeDistributed(inner, name="t")(x))
    y = layers.BatchNormalization(name="after")(y)  # after
    return keras.Model(x, y)

def recurrent():
    return keras.Sequential([layers.Input((5, 3)), layers.RNN(Cell(), name="r")])

def shared():
    a, b = keras.Input((6,)), keras.Input((6,))
    norm = layers.BatchNormalization(name="n")  # shared
    return keras.Model([a, b], [norm(a), layers.Dense(2)(norm(b))])

def nested():
    inner = keras.Sequential([layers.Input((6,)), layers.BatchNormalization(name="n")], name="in")  # nested
    x = keras.Input((6,))
    return keras.Model(x, inner(layers.Dense(6)(x)))
"""
# Paths of the norms in the order in which they run, and the comment at the end of their line.
EXPECTED = {
    "subclassed": (["block/batch_normalization", "block_1/batch_normalization_1"], "block"),
    "recurrent": (["r/cell/layer_normalization"] * 3, "cell"),
    "shared": (["n", "n"], "shared"),
    "nested": (["in/n"], "nested"),
}


@pytest.fixture
def nets(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(FILE)


def line_of(comment):
    lines = FILE.splitlines()
    return next(i for i, line in enumerate(lines, 1) if line.endswith(f"# {comment}"))


def norms(name):
    graph = check_target(f"nets.py:{name}").recording.graphs[0]
    return [(node.path, Path(node.site.file).name, node.site.line) for node, _ in graph.norms()]


@pytest.mark.parametrize("name", EXPECTED)
def test_path_and_line(nets, name):
    paths, comment = EXPECTED[name]
    assert norms(name) == [(path, "nets.py", line_of(comment)) for path in paths]


def test_along_time(nets):
    assert norms("along_time") == [
        ("t/s/n", "nets.py", line_of("time")),
        ("after", "nets.py", line_of("after")),
    ]


@pytest.mark.slow
@pytest.mark.skipif(keras.config.backend() != "torch", reason="the others are asked from here")
@pytest.mark.parametrize("backend", ["jax", "tensorflow"])
def test_on_other_backends(backend):
    """All graphs that are the same on every backend: these files' own tests, in a process of its own."""
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    here = Path(__file__)
    files = [str(here), str(here.with_name("test_graph.py"))]
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
    done = subprocess.run(
        command,
        cwd=here.parents[2],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
