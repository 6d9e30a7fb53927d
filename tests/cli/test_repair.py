"""`normscope repair`: weights and certificate on disk, and one line for what cannot be."""

import json

import pytest
import torch
from safetensors.torch import load_file

from normscope.cli import main
from normscope.repairs.table import REPAIRS

SETUP = """
import torch
from torch import nn

torch.manual_seed(0)
y = torch.randint(2, (1200,))
x = torch.randn(1200, 4) + 2 * y[:, None]
print("words of the user's own")

def net():
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(model.parameters(), 0.2)
    for a, b in zip(x.split(40), y.split(40)):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(a), b).backward()
        optimizer.step()
    model[0].running_mean.fill_(9.0)
    return model.eval()

def setup():
    return {"model": net(), "train": [*zip(x.split(40), y.split(40))], "loss": nn.CrossEntropyLoss()}

def plain():
    return {"model": net(), "train": [*x.split(40)]}

def shared():
    model = net()
    return {"model": nn.Sequential(model[0], model[0], *model[1:]).eval(), "train": [*x.split(40)]}

def empty():
    return {"model": net(), "train": []}

def broken():
    return {"model": net(), "train": [torch.full((40, 4), float("nan"))]}

def failing():
    return {"model": net(), "train": [torch.randn(4, 3)]}

def unknown():
    return {"model": net(), "trian": []}

number = 3
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.py").write_text(SETUP)
    (tmp_path / "folder").mkdir()
    return tmp_path


def repair(*words):
    return main(["repair", *words])


def test_weights_and_certificate_are_written_and_the_certificate_is_shown(capsys):
    assert repair("recalibrate", "file.py:setup", "-o", "weights.safetensors") == 0
    out, err = capsys.readouterr()
    assert "words of the user's own" in err
    assert "words of the user's own" not in out
    assert "population statistics of 2 batch norms of `Sequential` from 1,200 samples" in out
    assert "errors" in out
    state = load_file("weights.safetensors")
    assert float(state["0.running_mean"].max()) < 3
    with open("weights.certificate.json") as file:
        certificate = json.load(file)
    assert certificate["kept"]
    assert certificate["score"]["gain"] > 10 * certificate["score"]["noise"]
    assert certificate["score"]["error_before"] > certificate["score"]["error_after"] + 0.05


def test_a_file_of_torchs_own(capsys):
    assert repair("recalibrate", "file.py:plain", "--output", "weights.pt", "--exact") == 0
    assert "2 passes, layer by layer" in capsys.readouterr().out
    assert set(torch.load("weights.pt", weights_only=True)) >= {"0.running_mean", "4.weight"}


def test_options_reach_the_repair(capsys):
    words = ("--samples", "100", "--layers", "0", "--layers", "2", "--frozen", "2")
    assert repair("recalibrate", "file.py:plain", "-o", "w.pt", *words) == 0
    out = capsys.readouterr().out
    assert "1 batch norm of `Sequential` from 120 samples" in out
    assert "left alone   2: frozen by `frozen`" in out
    assert repair("recalibrate", "file.py:setup", "-o", "w.pt", "--keep", "better") == 0


def test_shared_tensors_are_written_under_each_name():
    assert repair("recalibrate", "file.py:shared", "-o", "w.safetensors") == 0
    state = load_file("w.safetensors")
    assert torch.equal(state["0.running_mean"], state["1.running_mean"])


def test_the_table(capsys):
    assert repair("--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines][: len(REPAIRS)] == [*REPAIRS]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "Which repair? `normscope repair NAME file.py:setup -o out`"),
        ("recalibrat file.py:setup -o w.pt", "Did you mean `recalibrate`?"),
        ("recalibrate", "What is to be repaired?"),
        ("recalibrate file.py:setup", "Add `-o weights.safetensors`"),
        ("recalibrate file.py:setup -o w.onnx", "Which format is `w.onnx`?"),
        ("recalibrate file.py:setup -o none/w.pt", "there is no folder `none`"),
        ("recalibrate file.py:setup -o folder", "it is a directory"),
        ("recalibrate file.py:stup -o w.pt", "Did you mean `setup`?"),
        ("recalibrate file.py:number -o w.pt", "gives a int, but a dict or a dataclass"),
        ("recalibrate file.py:unknown -o w.pt", "Did you mean `train`?"),
        ("recalibrate file.py:empty -o w.pt", "gives no batch"),
        ("recalibrate file.py:broken -o w.pt", "not finite"),
        ("recalibrate file.py:failing -o w.pt", "raised RuntimeError"),
        ("recalibrate file.py:plain -o w.pt --keep better", "needs a loss"),
        ("recalibrate file.py:plain -o w.pt --samples -1", "`samples` was given as -1"),
        ("recalibrate file.py:plain -o w.pt --layers nope", "`layers` names `nope`"),
    ],
)
def test_bad_input_is_one_line(line, said, capsys, here):
    assert repair(*line.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    [told] = [x for x in err.splitlines() if x.startswith("normscope: ")]
    assert said in told
    assert "Traceback" not in err
    assert not [*here.glob("w.*")]
