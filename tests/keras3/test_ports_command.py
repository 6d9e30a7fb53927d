"""`normscope compare-ports`: two models by one command, and bad input in one line."""

import json

import pytest

from normscope.cli import main

SETUPS = """
import keras
from keras import layers
from torch import nn


def original():
    return keras.Sequential([layers.Input((5,)), layers.Dense(8), layers.BatchNormalization(momentum=0.9)])


def inverted():
    return {"torch": nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8, momentum=0.9, eps=1e-3)), "keras": original()}


def faithful():
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8, eps=1e-3)), original()


def swapped():
    return faithful()[::-1]


def alone():
    return original()


def misnamed():
    return {"pytorch": 1, "keras": 2}


def three():
    return [1, 2, 3]


def unbuilt():
    return nn.BatchNorm1d(8), keras.Sequential([layers.BatchNormalization()])


def needy(size):
    return size
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ports.py").write_text(SETUPS)


def test_a_momentum_that_was_copied(capsys):
    assert main(["compare-ports", "ports.py:inverted"]) == 1
    shown = capsys.readouterr().out
    assert shown.startswith("Verdict  failing: NS705 port-mismatch")
    assert "momentum=0.1" in shown
    assert main(["compare-ports", "ports.py:inverted", "--fail-on", "never"]) == 0


def test_a_faithful_port_and_its_report(capfdbinary, tmp_path):
    assert main(["compare-ports", "ports.py:faithful"]) == 0
    assert b"healthy" in capfdbinary.readouterr().out
    words = ["--output", "r.json", "--output", "r.html", "--output", "r.sarif"]
    assert main(["compare-ports", "ports.py:faithful", *words]) == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["subject"]["target"] == "ports.py:faithful"
    [probe] = report["probes"]
    assert probe["answer"]["keras"][0]["var"] == {"values": 8, "mean": 1.0, "sd": 0.0}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "TARGET"),
        (["ports.py"], "`ports.py` names no factory"),
        (["none.py:setup"], "none.py"),
        (["ports.py:inverte"], "Did you mean `inverted`?"),
        (["ports.py:needy"], "`ports.py:needy` needs arguments (size)"),
        (["ports.py:alone"], "gives a Sequential, but a dict with the models `torch` and `keras`"),
        (["ports.py:misnamed"], "gives a dict with `pytorch`, `keras`, but a dict with the models"),
        (["ports.py:three"], "gives 3 values, but a dict"),
        (["ports.py:swapped"], "got a Sequential as its first model"),
        (["ports.py:unbuilt"], "not built: call it once"),
        (["ports.py:faithful", "--format", "yaml"], "was expected"),
    ],
)
def test_bad_input_is_one_line(words, told, capsys):
    assert main(["compare-ports", *words]) == 2
    shown = capsys.readouterr().err
    assert told in " ".join(shown.split())
    assert "Traceback" not in shown
