"""A run of Keras under observation is bit for bit the run without it, on every backend that is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from harm.commands import observed, plain
from normscope.record.store import load

SCRIPTS = Path(__file__).parent / "scripts"
BACKENDS = ("torch", "jax", "tensorflow")
# Of a hand-written loop that is compiled, JAX tells nothing.
STEPS = {
    "loops": {"torch": 33, "jax": 28, "tensorflow": 33},
    "own_steps": {"torch": 33, "jax": 55, "tensorflow": 85},
}


def backend(name: str):
    missing = importlib.util.find_spec(name) is None
    marks = [pytest.mark.skipif(missing, reason=f"{name} is not installed")]
    return pytest.param(name, marks=marks if name == "torch" else [*marks, pytest.mark.slow])


@pytest.mark.parametrize("script", STEPS)
@pytest.mark.parametrize("name", [backend(n) for n in BACKENDS])
def test_bit_identical(
    name: str, script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scripts also print how often their steps were traced: observing traces none anew."""
    monkeypatch.setenv("KERAS_BACKEND", name)
    path = str(SCRIPTS / f"{script}.py")
    bare = plain(path, cwd=tmp_path)
    seen = observed(path, cwd=tmp_path, record=tmp_path / "run.nscope")
    assert bare.returncode == 0, bare.stderr
    assert seen.returncode == 0, seen.stderr
    assert seen.stdout == bare.stdout
    assert "Traceback" not in seen.stderr
    recording = load(tmp_path / "run.nscope")
    assert [e.detail for e in recording.events_of("observer-error")] == []
    assert (recording.framework, recording.backend) == ("keras", name)
    assert recording.steps == STEPS[script][name]
    norms = [x for x in recording.layers.values() if x.kind == "batch"]
    if script == "loops":
        assert [x.updates for x in norms] == [recording.steps] * 2
        assert [x.momentum for x in norms] == pytest.approx([0.01, 0.1])
    else:
        assert sum(x.updates for x in norms) == recording.steps
        assert all(x.momentum in (0.1, 0.01) for x in norms)
    calls = [c for x in norms for _, p, c in recording.calls(x.id, "training")]
    assert all(c.batch_stats and c.updates for c in calls)
