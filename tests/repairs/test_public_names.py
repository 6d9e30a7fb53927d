"""What `normscope.repairs` offers, and that importing a part does not hide it."""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys

import pytest
import torch
from safetensors.torch import load_file

import normscope.repairs
from normscope.cli import main
from normscope.repairs.rebuilding import CALLS
from normscope.repairs.table import REPAIRS

FILE = """
import torch
from torch import nn

def setup():
    torch.manual_seed(0)
    x = torch.randn(64, 3, 6, 6)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 2))
    model(x)
    return {"model": model, "train": [(x, torch.zeros(64))]}

def pair():
    made = setup()
    return made["model"], made["train"][0][0]

def bare():
    return setup()["model"]

def residual():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        def forward(self, x):
            return self.norm(x + self.conv(x))
    return Block(), torch.randn(4, 3, 5, 5)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("mine", None)


def test_functions_are_not_hidden_by_modules(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")  # its default is TensorFlow
    for module in pkgutil.iter_modules(normscope.repairs.__path__):
        importlib.import_module(f"normscope.repairs.{module.name}")
    for name in normscope.repairs.__all__:
        assert callable(getattr(normscope.repairs, name)), name


@pytest.mark.parametrize("name", [n for n in CALLS if n != "move-before-addition"])
def test_every_repair_works_as_a_command(name, folder, capsys):
    options = ["--momentum", "0.2"] if name == "set-momentum" else []
    assert main(["repair", name, "mine.py:setup", *options, "-o", "out.safetensors"]) == 0
    out = capsys.readouterr().out
    assert "written      out.safetensors" in out
    assert load_file("out.safetensors")
    [certificate] = folder.glob("out*.json")
    kept = json.loads(certificate.read_text())
    assert kept["done"] in out
    assert kept["kind"] == REPAIRS[name].kind


def test_a_residual_network_is_rearranged(folder, capsys):
    words = ["repair", "move-before-addition", "mine.py:residual", "-o", "out.pt"]
    assert main(words) == 0
    assert "moved 1 batch norms" in capsys.readouterr().out
    assert "norm.weight" in torch.load("out.pt", weights_only=True)


@pytest.mark.parametrize("target", ["pair", "setup"])
def test_a_model_comes_with_its_inputs_or_with_its_data(target, folder, capsys):
    words = ["repair", "fold-batchnorm", f"mine.py:{target}", "-o", "out.safetensors"]
    assert main(words) == 0
    assert "folded 1 batch norms" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["fold-batchnorm", "mine.py:bare", "-o", "o.pt"], "needs an input"),
        (["set-momentum", "mine.py:setup", "-o", "o.pt"], "either the new momentum or"),
        (
            ["set-momentum", "mine.py:setup", "--groups", "3", "-o", "o.pt"],
            "has no option `--groups`",
        ),
        (
            ["convert-group", "mine.py:setup", "--groups", "0", "-o", "o.pt"],
            "at least 1 was expected",
        ),
        (["move-before-addition", "mine.py:setup", "-o", "o.pt"], "no batch norm reads a sum"),
        (["convert-grup", "mine.py:setup", "-o", "o.pt"], "Did you mean `convert-group`"),
    ],
)
def test_bad_input_gets_one_line(words, told, folder, capsys):
    assert main(["repair", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err
    assert not (folder / "o.pt").exists()
