"""Starts scripts with and without observation, as a user would."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

NORMSCOPE = [sys.executable, "-c", "import sys; from normscope.cli import main; sys.exit(main())"]
EVERYTHING = "100%"  # of the loop: nothing is thinned


def plain(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], cwd=cwd, capture_output=True, text=True, check=False
    )


def observed(
    *words: str, cwd: Path, record: Path, budget: str = EVERYTHING
) -> subprocess.CompletedProcess[str]:
    command = [*NORMSCOPE, "run", "--record", str(record), "--budget", budget, *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
