"""`normscope repair` on Keras models."""

import json

import numpy as np
import pytest

from normscope.cli import main
from normscope.graph.keras.values import read

SETUP = """
import os
os.environ.setdefault("KERAS_BACKEND", "torch")
import keras
import numpy as np
from keras import layers

x = (np.random.default_rng(0).normal(size=(64, 5)) + 3).astype("float32")

def net():
    return keras.Sequential([layers.Input((5,)), layers.BatchNormalization(), layers.Dense(2)])

def setup():
    return {"model": net(), "train": x}

def deep():
    model = keras.Sequential(
        [layers.Input((5,)), layers.Dense(8), layers.BatchNormalization(), layers.ReLU(), layers.Dense(2)]
    )
    model.layers[0].bias.assign(np.arange(8.0))
    model.layers[1].moving_mean.assign(np.arange(8.0) / 2)
    return {"model": model, "train": (x, np.zeros(64))}
"""


@pytest.fixture(autouse=True)
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "setups.py").write_text(SETUP)


@pytest.mark.filterwarnings(
    "ignore:__array__ implementation"
)  # Keras' own, with numpy 2 and PyTorch
def test_recalibrate(tmp_path, capsys):
    assert main(["repair", "recalibrate", "setups.py:setup", "-o", "out.weights.h5"]) == 0
    assert "64 samples" in capsys.readouterr().out
    certificate = json.loads((tmp_path / "out.weights.certificate.json").read_text())
    assert certificate["layers"][0]["values"] == 64
    from setups import net

    model = net()
    model.load_weights("out.weights.h5")
    assert np.allclose(read(model.layers[0].moving_mean), 3, atol=0.5)


@pytest.mark.filterwarnings("ignore:__array__ implementation")
def test_set_momentum(capsys):
    assert (
        main(["repair", "set-momentum", "setups.py:net", "--momentum", "0.9", "-o", "out.keras"])
        == 0
    )
    assert "0.99 → 0.9" in capsys.readouterr().out
    import keras

    assert keras.models.load_model("out.keras").layers[0].momentum == 0.9


@pytest.mark.filterwarnings("ignore:__array__ implementation")
@pytest.mark.parametrize(
    ("name", "kind", "norms"),
    [
        ("fold-redundant-bias", "exact", 1),
        ("fold-batchnorm", "exact", 0),
        ("remove-batchnorm", "changes-function", 0),
        ("freeze-batchnorm", "changes-function", 1),
        ("convert-group", "changes-function", 0),
        ("convert-layer", "changes-function", 0),
        ("convert-renorm", "changes-function", 1),
    ],
)
def test_layers_are_changed(name, kind, norms, tmp_path, capsys):
    assert main(["repair", name, "setups.py:deep", "-o", "out.keras"]) == 0
    assert capsys.readouterr().out.startswith(f"{name}: ")
    certificate = json.loads((tmp_path / "out.certificate.json").read_text())
    assert certificate["kind"] == kind
    apart = {d["mode"]: d["distance"] for d in certificate["differences"]}
    assert set(apart) == {"eval", "train"}
    assert (apart["eval"] < 1e-4) == ("convert-" not in name or name == "convert-renorm")
    import keras

    saved = keras.models.load_model("out.keras")
    kept = [x for x in saved.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert len(kept) == norms


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["recalibrate", "setups.py:setup", "-o", "out.pt"], "Name it `out.weights.h5`"),
        (
            ["recalibrate", "setups.py:net", "-o", "out.weights.h5"],
            "gives a Keras model without data",
        ),
        (
            ["reset-gamma", "setups.py:net", "-o", "out.weights.h5"],
            "no repair `reset-gamma` for Keras models yet",
        ),
        (["set-momentum", "setups.py:net", "--momentum", "1.5", "-o", "out.keras"], "momentum"),
        (
            ["recalibrate", "setups.py:setup", "--exact", "-o", "out.weights.h5"],
            "has no option `--exact`",
        ),
    ],
)
def test_bad_input_is_one_line(words, told, capsys):
    assert main(["repair", *words]) == 2
    shown = capsys.readouterr().err
    assert told in shown
    assert "Traceback" not in shown
