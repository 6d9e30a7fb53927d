"""Pairs of setups, as a user hands them to `normscope probe`: the faulty one gets the diagnosis, its healthy twin gets none.

They lie in `setups/`, each with a pair.toml: the rule, the probes that are asked, and the severity where it is no error.
"""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path

import pytest

from normscope.cli import main

HERE = Path(__file__).parent
PAIRS = [
    pytest.param(file.parent, tomllib.loads(file.read_text(encoding="utf-8")), id=file.parent.name)
    for file in sorted(HERE.glob("setups/*/pair.toml"))
]


@pytest.fixture
def probed(tmp_path, monkeypatch, capsys):
    """The JSON report of one file's setup."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def ask(file: Path, probes: list[str]) -> dict:
        sys.modules.pop(file.stem, None)
        code = main(["probe", *probes, f"{file}:setup", "--format", "json", "--output", "it.json"])
        sys.modules.pop(file.stem, None)
        capsys.readouterr()
        assert code in (0, 1)
        return json.loads((tmp_path / "it.json").read_text(encoding="utf-8"))

    return ask


@pytest.mark.parametrize(("folder", "told"), PAIRS)
def test_faulty(folder, told, probed):
    report = probed(folder / "faulty.py", told["probes"])
    first = report["findings"][0]
    assert report["verdict"]["primary"] == told["rule"]
    assert (first["code"], first["severity"]) == (told["rule"], told.get("severity", "error"))


@pytest.mark.parametrize(("folder", "told"), PAIRS)
def test_healthy(folder, told, probed):
    report = probed(folder / "healthy.py", told["probes"])
    assert report["verdict"]["status"] == "healthy"
    assert told["rule"] not in {f["code"] for f in report["findings"]}
    assert all(f["severity"] == "info" for f in report["findings"])
