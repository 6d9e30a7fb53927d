"""What one run of a trial tells its parent: a file that is complete however the run ends. Imports no framework.

The process of the script holds the one `Outcome`; `normscope.report_metric` and the arm write into it.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import msgspec

NOT_APPLICABLE = 87  # the exit status of a run whose arm cannot be tried: the script's own ends are told apart from it


class Told(msgspec.Struct, kw_only=True):
    """`metrics` by name are (step, value) in the order reported; `reason` is set where the arm cannot be tried."""

    metrics: dict[str, list[tuple[int, float]]] = {}
    reason: str = ""
    exchanged: int = 0
    changed: int = 0  # optimizer groups or loaders that the arm changed
    steps: int = 0
    seconds: float = 0.0
    memory: int = 0  # bytes, the largest resident set
    written: list[str] = []  # files outside the run's own folder that the script opened for writing
    ended: bool = False


class Outcome:
    """Collects, and writes when the process ends. Forked children write nothing."""

    def __init__(self, path: Path) -> None:
        self.told = Told()
        self._path = path
        self._pid = os.getpid()
        self._began = time.perf_counter()

    def metric(self, name: str, value: float, step: int | None) -> None:
        series = self.told.metrics.setdefault(name, [])
        series.append((len(series) + 1 if step is None else step, value))

    def write(self, *, ended: bool) -> None:
        if os.getpid() != self._pid:
            return
        told = self.told
        told.ended = ended
        told.seconds = time.perf_counter() - self._began
        told.memory = _largest_resident_set()
        part = self._path.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(told))
        os.replace(part, self._path)

    def give_up(self, reason: str) -> NoReturn:
        """End the process: the arm cannot be tried on this script. What the script printed so far is kept."""
        self.told.reason = reason
        self.write(ended=True)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(NOT_APPLICABLE)


_current: list[Outcome] = []


def begin(path: Path) -> Outcome:
    """The outcome of this process."""
    outcome = Outcome(path)
    _current[:] = [outcome]
    return outcome


def current() -> Outcome | None:
    """None outside a trial's run."""
    return _current[0] if _current else None


def give_up(reason: str) -> NoReturn:
    """End this run because its arm cannot be tried. Raises RuntimeError outside a trial's run."""
    if not _current:
        raise RuntimeError(reason)
    _current[0].give_up(reason)


def read(path: Path) -> Told | None:
    """What a run told; None where it ended before it could."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Told)
    except (OSError, msgspec.DecodeError):
        return None


def _largest_resident_set() -> int:
    used: Any = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(used) * (1 if sys.platform == "darwin" else 1024)
