"""A run under observation is bit for bit the run without it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harm.commands import observed, plain
from normscope.record.recording import Recording
from normscope.record.store import load

HERE = Path(__file__).parent
needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("clang++") is None, reason="needs a C++ compiler"
)


def both(scripts: str, folder: Path) -> Recording:
    """Run the scripts of one file both ways, compare all that they left, and return what was recorded."""
    words = [str(HERE / "together.py"), str(HERE / "scripts" / f"{scripts}.py")]
    bare = plain(*words, str(folder / "plain.json"), cwd=folder)
    seen = observed(*words, str(folder / "observed.json"), cwd=folder, record=folder / "run.nscope")
    assert bare.returncode == 0, bare.stderr
    assert seen.returncode == 0, seen.stderr
    expected = json.loads((folder / "plain.json").read_text())
    found = json.loads((folder / "observed.json").read_text())
    assert len(expected) > 0
    assert found == expected
    assert seen.stdout == bare.stdout
    recording = load(folder / "run.nscope")
    assert [e.detail for e in recording.events_of("observer-error")] == []
    return recording


@pytest.mark.parametrize(
    ("scripts", "models", "steps"),
    [
        ("plain", 5, 40),
        ("unusual", 9, 25),
        ("precision", 6, 25),
        ("shared", 4, 100),
        ("gradients", 5, 130),
        ("averages", 5, 140),
        ("checkpoints", 7, 36),
        ("construction", 5, 18),
    ],
)
def test_training_is_bit_identical(scripts: str, models: int, steps: int, tmp_path: Path) -> None:
    recording = both(scripts, tmp_path)
    assert len(recording.models) >= models
    assert recording.steps >= steps


def test_other_uses_of_a_model_work_and_are_bit_identical(tmp_path: Path) -> None:
    recording = both("transforms", tmp_path)
    assert recording.events_of("compiled")


@needs_compiler
@pytest.mark.slow
def test_the_default_compiler_is_not_disturbed(tmp_path: Path) -> None:
    assert both("inductor", tmp_path).events_of("compiled")
