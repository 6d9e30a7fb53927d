"""Ctrl-C in a terminal: workers end, what was measured is kept, and the same command ends what is left with the same numbers."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

CLAIMS = ("running-averages", "forgotten-eval", "gradient-depth")
COMMAND = [sys.executable, "-m", "normscope", "lab", *CLAIMS, "--jobs", "2", "--format", "json"]


@pytest.mark.slow
def test_an_interrupted_command_goes_on(tmp_path):
    process = subprocess.Popen(
        COMMAND,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # whatever the shell says
    )
    while len(kept(tmp_path)) < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    workers = children(process.pid)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate()
    assert process.returncode == 130
    assert "what was measured is kept" in stderr
    assert "Traceback" not in stderr
    assert len(workers) == 2
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
    before = kept(tmp_path)

    again = subprocess.run(COMMAND, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert '"not run"' not in again.stdout
    after = kept(tmp_path)
    assert len(before) < len(after)
    assert before.items() <= after.items()  # not measured twice: the time it took is among them


def kept(folder: Path) -> dict[str, tuple[str, float]]:
    file = folder / "normscope-lab.sqlite"
    if not file.is_file():
        return {}
    base = sqlite3.connect(file)
    try:
        rows = base.execute("select key, numbers, seconds from results").fetchall()
    except sqlite3.OperationalError:  # the table is being made
        return {}
    finally:
        base.close()
    return {key: (numbers, seconds) for key, numbers, seconds in rows}


def children(pid: int) -> list[int]:
    """Processes that any thread of `pid` began."""
    told = [p.read_text().split() for p in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(child) for each in told for child in each]
