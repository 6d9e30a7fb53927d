"""The commands on recordings that are there."""

from __future__ import annotations

import json

import pytest

from normscope import catalogue
from normscope.cli import main
from normscope.cli.diagnosing import at_bar
from normscope.finding import Finding
from normscope.record.recording import Model
from normscope.record.store import Store


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, layers, steps in (("plain", 0, 9), ("unstepped", 2, 0)):
        store = Store.create(tmp_path / f"{name}.nscope")
        store.put_meta("target", "train.py")
        store.put_meta("status", "exit 0")
        store.put_meta("steps", steps)
        store.put("model", 0, Model(id=0, name="Net", norm_layers=layers))
        store.close()
    return tmp_path


@pytest.mark.parametrize(
    ("file", "said"),
    [("plain", "no normalization layer"), ("unstepped", "No training step was seen")],
)
def test_no_norm_layer_and_no_step_are_said_plainly(here, capsys, file, said):
    assert main(["report", f"{file}.nscope"]) == 0
    assert said in " ".join(capsys.readouterr().out.split())


def test_report_as_json_on_stdout_and_in_files(here, capfdbinary):
    assert main(["report", "plain.nscope", "--format", "json"]) == 0
    shown = json.loads(capfdbinary.readouterr().out)
    assert shown["verdict"]["status"] == "healthy"
    assert (
        main(
            [
                "report",
                "plain.nscope",
                "--output",
                "r.json",
                "--output",
                "r.html",
                "--output",
                "r.txt",
            ]
        )
        == 0
    )
    assert capfdbinary.readouterr().out == b""
    assert json.loads((here / "r.json").read_bytes()) == shown
    assert "<html" in (here / "r.html").read_text()
    assert (here / "r.txt").read_text().startswith("Verdict")


def test_compare(here, capfdbinary):
    assert main(["compare", "plain.nscope", "unstepped.nscope"]) == 0
    assert b"Before" in capfdbinary.readouterr().out
    assert main(["compare", "plain.nscope", "plain.nscope", "--format", "json"]) == 0
    assert isinstance(json.loads(capfdbinary.readouterr().out), dict)
    assert main(["compare", "plain.nscope", "plain.nscope", "--output", "c.html"]) == 0
    assert "<html" in (here / "c.html").read_text()


def test_rules(capsys):
    assert main(["rules", "--format", "json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [r["code"] for r in listed] == [r.code for r in catalogue.rules()]
    assert all(r["summary"] and "\n" not in r["summary"] for r in listed)
    assert main(["rules"]) == 0
    out = capsys.readouterr().out
    assert all(r["code"] in out for r in listed)


def test_explain(capsys):
    for rule in catalogue.rules():
        assert main(["explain", rule.code.lower()]) == 0
        out = capsys.readouterr().out
        assert out.startswith(f"# {rule.code} {rule.name}\n")
        assert all(f"## {heading}\n" in out for heading in rule.sections if heading)


@pytest.mark.parametrize(
    ("severities", "hit"),
    [
        ((), []),
        (("info",), []),
        (("warning",), ["warning"]),
        (("info", "error"), ["error", "warning"]),
    ],
)
def test_the_bar(severities, hit):
    findings = [Finding("m", severity=s) for s in severities]
    assert [b for b in ("error", "warning", "never") if at_bar(findings, b)] == hit
