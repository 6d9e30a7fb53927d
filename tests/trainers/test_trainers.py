"""Scripts for Lightning, the Hugging Face Trainer and Accelerate: who calls the model is not the user's own loop."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
LIBRARY = {
    "lightning_digits": "lightning",
    "transformers_digits": "transformers",
    "accelerate_wine": "accelerate",
}
FAULTS = [
    ("lightning_digits", "validation-in-train", "NS401"),
    ("lightning_digits", "two-images", "NS301"),
    ("lightning_digits", "features-in-eval", "NS404"),
    ("transformers_digits", "evaluation-in-train", "NS401"),
    ("transformers_digits", "other-convention", "NS201"),
    ("accelerate_wine", "evaluation-in-train", "NS401"),
]

pytestmark = pytest.mark.slow


def needs(script: str) -> None:
    """Skip where the library is absent; found without importing it, which takes seconds."""
    if importlib.util.find_spec(LIBRARY[script]) is None:
        pytest.skip(f"{LIBRARY[script]} is not installed")


def python(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def observed(folder: Path, script: str, *faults: str) -> tuple[dict[str, Any], str]:
    """The JSON report of an observed run, and what the script printed."""
    command = ["-m", "normscope", "run", "--format", "json", "--output", "report.json"]
    done = python(*command, str(HERE / f"{script}.py"), *faults, folder=folder)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "report.json").read_text(encoding="utf-8")), done.stdout


@pytest.mark.parametrize("script", LIBRARY)
def test_healthy(script: str, tmp_path: Path) -> None:
    needs(script)
    report, printed = observed(tmp_path, script)
    assert report["verdict"]["status"] == "healthy", report["findings"]
    assert [f["code"] for f in report["findings"] if f["severity"] != "info"] == []
    assert report["subject"]["steps"] > 0
    assert not [n for n in report["coverage"].get("notes", ()) if "observer-error" in n]
    assert printed == python(str(HERE / f"{script}.py"), folder=tmp_path).stdout


@pytest.mark.parametrize(("script", "fault", "code"), FAULTS)
def test_faulty(script: str, fault: str, code: str, tmp_path: Path) -> None:
    needs(script)
    report, _ = observed(tmp_path, script, fault)
    assert report["verdict"]["primary"] == code, report["findings"]
    assert not [n for n in report["coverage"].get("notes", ()) if "observer-error" in n]
