"""What one run of a trial tells its parent: a file that is complete however the run ends. Imports no framework.

The process of the script holds the one `Outcome`; `normscope.report_metric` and the arm write into it.
"""

from __future__ import annotations

import hashlib
import os
import resource
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any, NoReturn

import msgspec

NOT_APPLICABLE = 87  # the exit status of a run whose arm cannot be tried: the script's own ends are told apart from it
NO_COPY = 88  # that of a run that was ended because a file could not be copied before the script would have overwritten it


class Told(msgspec.Struct, kw_only=True):
    """`metrics` by name are (step, value) in the order reported; `reason` is set where the arm cannot be tried.

    `sources` are the digests of the user's own modules, by file.
    """

    metrics: dict[str, list[tuple[int, float]]] = {}
    reason: str = ""
    exchanged: int = 0
    changed: int = 0  # optimizer groups or loaders that the arm changed
    note: str = ""  # what a reader has to know of what the arm did
    steps: int = 0
    seconds: float = 0.0
    memory: int = 0  # bytes, the largest resident set of the process or of one that it started
    device_memory: int = 0  # bytes, the most that was allocated on the accelerator
    sources: dict[str, str] = {}


class NotApplicable(BaseException):
    """Ends the run of a function whose arm cannot be tried; no `except Exception` of the function's own holds it up."""


class Outcome:
    """Collects what is told in this process; nothing is written without a `path`."""

    def __init__(self, path: Path | None = None) -> None:
        self.told = Told()
        self._path = path
        self._pid = os.getpid()
        self._began = time.perf_counter()

    def metric(self, name: str, value: float, step: int | None) -> None:
        series = self.told.metrics.setdefault(name, [])
        series.append((len(series) + 1 if step is None else step, value))

    def write(self) -> None:
        """Forked children write nothing."""
        if self._path is None or os.getpid() != self._pid:
            return
        told = self.told
        told.seconds = time.perf_counter() - self._began
        told.memory = _largest_resident_set()
        told.sources = _sources()
        part = self._path.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(told))
        os.replace(part, self._path)

    def give_up(self, reason: str) -> NoReturn:
        """End the run: its arm cannot be tried. What the script printed so far is kept."""
        self.told.reason = reason
        if self._path is None:
            raise NotApplicable(reason)
        self.end(NOT_APPLICABLE)

    def end(self, status: int) -> NoReturn:
        """End the process at once, from wherever in the script this is."""
        self.write()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


_current: list[Outcome] = []


def begin(path: Path | None = None) -> Outcome:
    """The outcome of this process from now on."""
    outcome = Outcome(path)
    _current[:] = [outcome]
    return outcome


def finished() -> None:
    """No run is under way any more in this process."""
    _current.clear()


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


def digest_of(file: str | Path) -> str:
    """Of a source file's bytes; empty where it cannot be read."""
    try:
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except OSError:
        return ""


def _sources() -> dict[str, str]:
    """The modules that the script consists of: what is neither installed nor Python's own, nor ours."""
    installed = {sysconfig.get_path(n) for n in ("stdlib", "platstdlib", "purelib", "platlib")}
    others = tuple(p + os.sep for p in (*filter(None, installed), _package()))
    files = {
        os.path.abspath(f)
        for m in list(sys.modules.values())
        if isinstance(f := getattr(m, "__file__", None), str) and f.endswith(".py")
    }
    return {f: digest_of(f) for f in sorted(files) if not f.startswith(others)}


def _package() -> str:
    return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def _largest_resident_set() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    used: list[Any] = [
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    return int(max(used)) * unit
