"""A run of Keras under observation is bit for bit the run without it, on every backend that is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from harm.commands import observed, plain
from normscope.record.store import load

SCRIPT = Path(__file__).parent / "scripts" / "loops.py"


def backend(name: str):
    missing = importlib.util.find_spec(name) is None
    marks = [pytest.mark.skipif(missing, reason=f"{name} is not installed")]
    return pytest.param(name, marks=marks if name == "torch" else [*marks, pytest.mark.slow])


@pytest.mark.parametrize("name", [backend(n) for n in ("torch", "jax", "tensorflow")])
def test_bit_identical(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", name)
    bare = plain(str(SCRIPT), cwd=tmp_path)
    seen = observed(str(SCRIPT), cwd=tmp_path, record=tmp_path / "run.nscope")
    assert bare.returncode == 0, bare.stderr
    assert seen.returncode == 0, seen.stderr
    assert seen.stdout == bare.stdout
    recording = load(tmp_path / "run.nscope")
    assert [e.detail for e in recording.events_of("observer-error")] == []
    assert (recording.framework, recording.backend) == ("keras", name)
    assert recording.steps == {"torch": 33, "jax": 28, "tensorflow": 33}[name]
    norms = [x for x in recording.layers.values() if x.kind == "batch"]
    assert [x.updates for x in norms] == [recording.steps] * 2
    assert [x.momentum for x in norms] == pytest.approx([0.01, 0.1])
