"""Whatever is given, the answer is a verdict or one clear line with status 2."""

from __future__ import annotations

import json
import os
import pickle
import sys

import pytest
import torch
from torch import nn

from normscope.cli import main

FILE = """
import os, sys, threading
import torch
from torch import nn
def net(): return nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU())
def raises(): raise ValueError("two\\nlines")
def exits(): sys.exit(0)
def leaves(): os._exit(0)
def recurses(): return recurses()
def reads(): return input("name? ")
def needs_gpu(): raise AssertionError("Torch not compiled with CUDA enabled")
def nothing(): return None
def table(): return {"a": 1}
def klass(): return nn.BatchNorm2d
def models(): return [net(), net()]
def generator(): yield net()
async def coroutine(): return net()
def scripted():
    import warnings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(net())
class Mute:
    def __repr__(self): raise RuntimeError("no")
class Empty(nn.Module):
    def __init__(self): pass
class WithoutForward(nn.Module): pass
class OnlyEvaluates(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
    def forward(self, x):
        if self.training: raise NotImplementedError("not made for training")
        return self.norm(x)
class Loud(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
    def forward(self, x):
        print("forward")
        os.write(1, b"below Python")
        return torch.relu(self.norm(x))
class Strange(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
    def forward(self, x):
        return torch.special.bessel_j0(torch.linalg.svdvals(self.norm(x)))
def prints():
    print("hello")
    os.write(1, b"below Python")
    return net()
def threaded():
    threading.Thread(target=print).start()
    return net()
def on_meta():
    with torch.device("meta"): return net()
def without_norms(): return nn.Conv2d(3, 4, 3)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "hostile_nets.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "stdin", open(os.devnull))  # noqa: SIM115
    yield tmp_path
    sys.stdin.close()
    sys.modules.pop("hostile_nets", None)


def refused(capsys, *words):
    """The one line, for a command that must fail by its input."""
    assert main(["check", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    line = err.splitlines()[-1]
    assert "Traceback" not in err
    return line[line.index("normscope: ") :]


@pytest.mark.parametrize(
    ("factory", "told"),
    [
        ("raises", "raised ValueError: two lines"),
        ("exits", "called exit(0)"),
        ("leaves", "called exit(0)"),
        ("recurses", "raised RecursionError"),
        ("reads", "raised EOFError"),
        ("needs_gpu", "Torch not compiled with CUDA"),
        ("nothing", "gives None"),
        ("table", "gives a dict"),
        ("klass", "gives a type"),
        ("models", "gives a list"),
        ("generator", "gives a generator"),
        ("coroutine", "gives a coroutine"),
        ("scripted", "what runs inside TorchScript cannot be seen"),
        ("Mute", "gives a Mute,"),
        ("Empty", "does not call `super().__init__()`"),
        ("WithoutForward", 'missing the required "forward"'),
        (
            "OnlyEvaluates",
            "in training mode with inputs of (4, 3, 8, 8) raised NotImplementedError",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_factories_that_give_no_model(factory, told, capsys):
    assert told in refused(capsys, f"hostile_nets.py:{factory}", "--input", "4,3,8,8")


@pytest.mark.parametrize(
    "factory", ["prints", "threaded", "on_meta", "without_norms", "Loud", "Strange"]
)
def test_odd_models_that_are_answered(factory, capfd):
    words = ["check", f"hostile_nets.py:{factory}", "--input", "4,3,8,8", "--format", "json"]
    assert main(words) == 0
    report = json.loads(capfd.readouterr().out)
    assert report["verdict"]["status"] == "healthy"
    assert report["verdict"]["normalization_to_blame"] is (
        False if factory == "without_norms" else None
    )


def test_operations_that_nobody_knows_are_told(capsys):
    assert main(["check", "hostile_nets.py:Strange", "--input", "4,3,8,8"]) == 0
    assert "2 kinds of operation not understood" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--input", "3"), "raised RuntimeError"),
        (("--input", "4,3,8,-8"), "has a negative size"),
        (("--input", "4,0,8,8"), "a size is 0"),
        (("--input", "99999,99999,99999"), "at most 1e+09 were expected"),
        (("--input", "9" * 40), "at most 1e+09 were expected"),
        (("--input", "4,3,8,8", "--input", "4"), "raised TypeError"),
        (("--select", "NS9"), "No rule's code begins with `NS9`"),
        (("--ignore", "XX"), "No rule's code begins with `XX`"),
        (("--baseline", "other.json"), "is no baseline of normscope"),
        (("--weights", "hostile_nets.py"), "is no checkpoint"),
        (("--weights", "."), "There is no checkpoint `.`"),
        (("--format", "xml"), "was expected"),
        (("--fail-on", "sometimes"), "error, warning or never was expected"),
        (("--weigths", "x.pt"), "Did you mean --weights?"),
    ],
)
def test_options(words, told, folder, capsys):
    (folder / "other.json").write_text('{"generator": "another tool", "results": []}')
    assert told in refused(capsys, "hostile_nets.py:net", *words)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[tool.normscope]\nselct = ['NS1']", "Did you mean `select`?"),
        ("[tool.normscope]\nselect = 7", "select"),
        ("[tool.normscope\n", "pyproject.toml"),
        ("[tool.normscope]\nfail-on = 'sometimes'", "error, warning or never was expected"),
    ],
)
def test_configuration(text, told, folder, capsys):
    (folder / "pyproject.toml").write_text(text)
    assert told in refused(capsys, "hostile_nets.py:net")


class Runs:
    def __reduce__(self):
        return os.system, ("touch it_ran",)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("code.pt", pickle.dumps({"w": Runs()}), "wants to run code"),
        ("code.pkl", pickle.dumps(Runs()), "wants to run code"),
        ("empty.pt", b"", "cannot be read as a checkpoint"),
        ("text.pt", b"not a checkpoint at all", "is no checkpoint"),
        ("picture.pt", b"\x89PNG\r\n\x1a\n" + bytes(100), "is no checkpoint"),
        ("cut.safetensors", b"\xff\xff\x00\x00\x00\x00\x00\x00{", "cannot be read"),
        ("numbers.pt", None, "holds no state dict, but list"),
    ],
)
def test_files_that_are_no_checkpoint(name, content, told, folder, capsys):
    if content is None:
        torch.save([1, 2], name)
    else:
        (folder / name).write_bytes(content)
    assert told in refused(capsys, "hostile_nets.py:net", "--weights", name)
    assert not (folder / "it_ran").exists()


def test_a_checkpoint_that_was_cut_off(folder, capsys):
    torch.save(nn.BatchNorm2d(4).state_dict(), "whole.pt")
    whole = (folder / "whole.pt").read_bytes()
    (folder / "cut.pt").write_bytes(whole[: len(whole) // 2])
    assert "cannot be read as a checkpoint" in refused(
        capsys, "hostile_nets.py:net", "--weights", "cut.pt"
    )


def test_a_child_that_the_factory_forks_may_leave(folder, capsys):
    (folder / "forking_nets.py").write_text(
        "import os\nfrom torch import nn\ndef net():\n"
        "    pid = os.fork()\n    if not pid: os._exit(7)\n"
        "    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7\n    return nn.BatchNorm2d(3)\n"
    )
    assert main(["check", "forking_nets.py:net"]) == 0
    sys.modules.pop("forking_nets", None)
