"""`normscope check` as a user calls it."""

from __future__ import annotations

import json
import re
import sys

import pytest

from normscope.cli import main

FILE = """
print("building")
from torch import nn
def net():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
def wrong():
    class Wrong(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Linear(5, 12)
            self.norm = nn.BatchNorm1d(12)
        def forward(self, words):
            return self.norm(self.embed(words))  # (N, L, C): L becomes the channels
    return Wrong()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "checked_nets.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("checked_nets", None)


def check(*words):
    return main(["check", *words])


def test_a_remark_does_not_fail(capsys):
    assert check("checked_nets.py:net", "--input", "4,3,8,8") == 0
    out = capsys.readouterr().out
    assert out.startswith("Verdict  healthy")
    assert "NS101" in out
    assert "building" not in out
    assert "not measured" not in out


def test_an_error_fails_and_names_its_line(capsys):
    assert check("checked_nets.py:wrong", "--input", "4,12,5") == 1
    out = capsys.readouterr().out
    assert "NS105" in out
    line = FILE.splitlines().index(next(x for x in FILE.splitlines() if "(N, L, C)" in x)) + 1
    assert f"checked_nets.py:{line}" in "".join(x.strip() for x in out.splitlines())


@pytest.mark.parametrize(("bar", "code"), [("never", 0), ("warning", 1), ("error", 1)])
def test_the_bar(bar, code):
    assert check("checked_nets.py:wrong", "--input", "4,12,5", "--fail-on", bar) == code


def test_selection(capsys):
    assert check("checked_nets.py:wrong", "--input", "4,12,5", "--ignore", "NS105") == 0
    assert check("checked_nets.py:wrong", "--input", "4,12,5", "--select", "NS9") == 2
    assert "No rule's code begins with `NS9`" in capsys.readouterr().err


def test_json_on_stdout_is_json_alone(capsys):
    check("checked_nets.py:net", "--input", "4,3,8,8", "--format", "json")
    report = json.loads(capsys.readouterr().out)
    assert report["subject"]["models"] == [{"name": "Sequential", "norm_layers": 1}]
    assert report["verdict"]["normalization_to_blame"] is None
    assert report["cost"]["overhead"] is None


def test_annotations(capsys):
    check("checked_nets.py:wrong", "--input", "4,12,5", "--format", "github")
    line, *_ = capsys.readouterr().out.splitlines()
    assert re.match(r"::error file=\S*checked_nets\.py,line=\d+,", line)
    assert ",title=NS105 wrong-axis::" in line


def test_known_findings_are_silent_until_there_is_a_new_one(folder, capsys):
    words = ("checked_nets.py:wrong", "--input", "4,12,5")
    assert check(*words, "--write-baseline", "known.json") == 0
    assert check(*words, "--baseline", "known.json") == 0
    assert capsys.readouterr().out.startswith("Verdict  healthy")
    (folder / "checked_nets.py").write_text(FILE.replace("self.norm", "self.other"))
    sys.modules.pop("checked_nets", None)
    assert check(*words, "--baseline", "known.json") == 1


def test_a_layer_ignored_with_a_reason(folder):
    (folder / "pyproject.toml").write_text(
        '[[tool.normscope.ignore-layers]]\ncodes = ["NS105"]\nlayers = "nor*"\nreason = "length is fixed"\n'
    )
    assert check("checked_nets.py:wrong", "--input", "4,12,5") == 0


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ('codes = ["NS105"]\nlayers = "norm"', "the `reason` to ignore NS105 is missing"),
        ('layers = "norm"\nreason = "x"', "the `codes` to ignore are missing"),
        ('codes = ["NS1"]\nlayer = "norm"\nreason = "x"', "Did you mean `layers`?"),
    ],
)
def test_an_ignore_that_says_too_little(table, told, folder, capsys):
    (folder / "pyproject.toml").write_text(f"[[tool.normscope.ignore-layers]]\n{table}\n")
    assert check("checked_nets.py:net") == 2
    err = capsys.readouterr().err
    assert told in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("checked_nets.py:net", "--input", "4,x"), "is no shape"),
        (("checked_nets.py:net", "--input", "4,5,8,8"), "raised RuntimeError"),
        (("checked_nets.py:net", "--baseline", "no.json"), "Cannot read the baseline"),
        (("checked_nets.py:net", "--baseline", "checked_nets.py"), "is no baseline"),
        (("checked_nets.py:net", "--write-baseline", "no/where.json"), "Cannot write"),
        (("checked_nets.py:nett",), "Did you mean `net`?"),
    ],
)
def test_bad_input_is_one_line(words, told, capsys):
    assert check(*words) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("normscope: ")
    assert told in last


@pytest.mark.parametrize("formats", [("github", "sarif"), ("sarif", "github")])
def test_annotations_go_to_the_terminal_and_sarif_to_the_file(formats, folder, capsys):
    words = [w for f in formats for w in ("--format", f)]
    check("checked_nets.py:wrong", "--input", "4,12,5", *words, "--output", "found.sarif")
    assert capsys.readouterr().out.startswith("::error ")
    assert json.loads((folder / "found.sarif").read_text())["version"] == "2.1.0"
