"""Residual blocks with batch norm, without, and with layer norm, as tutorials build them; and two ways to use them wrongly."""

import pytest

from normscope.checking import check_target
from normscope.cli import main
from normscope.errors import NormscopeError
from normscope.graph.model import Add, Norm

FILE = """
import os
os.environ.setdefault("KERAS_BACKEND", "torch")
import keras
from keras import layers

def block(x, width, norm):
    "Two convolutions with a shortcut around them."
    shortcut = x
    for last in (False, True):
        x = layers.Conv2D(width, 3, padding="same")(x)
        if norm is not None:
            x = norm()(x)
        if not last:
            x = layers.Activation("relu")(x)
    x = layers.Add()([x, shortcut])
    return layers.Activation("relu")(x)

def network(norm, width=8):
    image = keras.Input((32, 32, 3))
    x = layers.Conv2D(width, 1)(image)
    x = block(x, width, norm)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(10, activation="softmax")(x))

def with_batch_norm():
    return network(layers.BatchNormalization)

def without():
    return network(None)

def with_layer_norm():
    return network(layers.LayerNormalization)

def other_width():
    return keras.Sequential([block(keras.Input((224, 224, 3)), 64, layers.BatchNormalization), layers.Dense(10)])

def shortcut_first():
    image = keras.Input((32, 32, 3))
    return keras.Model(image, layers.Add()([image, layers.Conv2D(64, 3, padding="same")(image)]))

def in_a_sequential():
    return keras.Sequential([block(keras.Input((224, 224, 3)), 3, layers.BatchNormalization), layers.Dense(10)])
"""


@pytest.fixture(autouse=True)
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "blocks.py").write_text(FILE)


@pytest.mark.parametrize(
    ("factory", "kind", "remarks"),
    [
        ("with_batch_norm", "batch", {"NS101"}),
        ("without", None, set()),
        ("with_layer_norm", "layer", set()),
    ],
)
def test_blocks(factory, kind, remarks):
    diagnosis = check_target(f"blocks.py:{factory}")
    assert diagnosis.verdict.status == "healthy"
    assert {f.code for f in diagnosis.findings} == remarks
    for graph in diagnosis.recording.graphs:
        assert [n.op.kind for n in graph if isinstance(n.op, Norm)] == [kind] * 2 * (
            kind is not None
        )
        [add] = [n for n in graph if isinstance(n.op, Add)]
        assert add.shape == (8, 32, 32, 8)
    if kind == "batch":
        assert "use_bias=False" in diagnosis.findings[0].message


@pytest.mark.parametrize(
    ("factory", "told"),
    [
        (
            "other_width",
            r"^Calling .* raised ValueError: Inputs have incompatible shapes.*blocks\.py:16\)\. .*Conv2D\(64, 1\)",
        ),
        (
            "shortcut_first",
            r"^Calling .* raised ValueError: Inputs have incompatible shapes.*Conv2D\(64, 1\)",
        ),
        (
            "in_a_sequential",
            r"^Calling .* raised ValueError: Only instances of `keras\.Layer`.*keras\.Model\(inputs, outputs\)",
        ),
    ],
)
def test_wrong_use_is_answered_in_one_line(factory, told, capsys):
    with pytest.raises(NormscopeError, match=told):
        check_target(f"blocks.py:{factory}")
    assert main(["check", f"blocks.py:{factory}"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Traceback" not in shown.err
    assert shown.err.strip().count("\n") == 0
