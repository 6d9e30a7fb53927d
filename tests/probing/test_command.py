"""`normscope probe` as a user types it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from normscope.cli import main
from normscope.record.store import load

FILE = """
import torch
from torch import nn

def setup(slow=False):
    torch.manual_seed(0)
    x = torch.randn(256, 4) * 3 + 2
    y = (x[:, 0] > 2).long()
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8, momentum=0.001), nn.ReLU(), nn.Linear(8, 2))
    train = [(x[i : i + 32], y[i : i + 32]) for i in range(0, 256, 32)]
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for a, b in train * 5:
        loss = nn.functional.cross_entropy(model(a), b)
        optimizer.zero_grad(); loss.backward(); optimizer.step()
    print("trained")
    return {"model": model, "train": train, "loss": nn.CrossEntropyLoss()}

def waiting():
    import os, time
    made = setup()
    def loss(output, target):
        if torch.is_grad_enabled():
            return nn.functional.cross_entropy(output, target)
        os.write(2, b"asking\\n")
        time.sleep(600)
    return made | {"loss": loss}

def empty():
    return {"model": nn.Linear(2, 2), "train": []}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("mine", None)


def test_the_answer_is_printed_and_kept(folder, capsys):
    assert main(["probe", "gap", "mine.py:setup"]) == 1
    out, err = capsys.readouterr()
    assert out.startswith("Verdict   failing: NS408")
    assert "with recomputed ones" in " ".join(out.split())
    assert "trained" not in out
    assert "Recording: mine.nscope" in err
    assert list(load(folder / "mine.nscope").measurements) == ["gap"]
    assert main(["report", "mine.nscope", "--fail-on", "never"]) == 0
    assert capsys.readouterr().out.startswith("Verdict   failing: NS408")


def test_json_and_a_page(folder, capsys):
    arguments = [
        "--format",
        "json",
        "--format",
        "html",
        "--output",
        "a.html",
        "--record",
        "b.nscope",
    ]
    assert main(["probe", "gap", "signal", "mine.py:setup", *arguments]) == 1
    report = json.loads(capsys.readouterr().out)
    assert [p["name"] for p in report["probes"]][:2] == ["gap", "signal"]
    assert report["probes"][0]["answer"]["stale"]["value"] > 0
    assert "Train-evaluation gap" in report["probes"][0]["sentence"]
    page = (folder / "a.html").read_text()
    assert "What flows through" in page
    assert "Which layer carries it" in page
    assert not (folder / "mine.nscope").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "`` names no setup"),
        (["gap"], "`gap` names no setup. Write `normscope probe file.py:setup`"),
        (["gpa", "mine.py:setup"], "There is no probe `gpa`. Did you mean `gap`?"),
        (["mine.py:setpu"], "has no `setpu`. Did you mean `setup`?"),
        (["mine.py:empty"], "The loader `train` gives no batch"),
        (["mine.py:setup", "--seconds", "0"], "`--seconds` must be above 0; got 0"),
        (["mine.py:setup", "--record", "no/such/folder.nscope"], "there is no folder `no/such`"),
        (["mine.py:FILE"], "has no `FILE`"),
    ],
)
def test_bad_input_gets_one_line(words, told, folder, capsys):
    assert main(["probe", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err
    assert err.splitlines()[-1].startswith("normscope: ")


def test_the_probes_are_listed(capsys):
    assert main(["probe", "--list"]) == 0
    assert capsys.readouterr().out.startswith("gap ")


def test_an_interrupt_keeps_what_was_answered(folder):
    command = "import sys; from normscope.cli import main; sys.exit(main())"
    arguments = ["probe", "signal", "gap", "mine.py:waiting"]
    with subprocess.Popen(
        [sys.executable, "-c", command, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore it, and so would this child.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as asked:
        assert asked.stderr is not None
        while "asking" not in (line := asked.stderr.readline()):
            assert line, asked.wait()
        asked.send_signal(signal.SIGINT)
        out, err = asked.communicate()
    assert asked.returncode == 130, err
    assert "interrupted; what was answered is kept" in err
    assert "For the rest: `normscope probe gap mine.py:waiting --record mine.rest.nscope`" in err
    assert "Signal of Sequential" in " ".join(out.split())
    assert next(iter(load(Path("mine.nscope")).measurements)) == "signal"
