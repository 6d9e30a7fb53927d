"""One run of the script under one arm: a process of its own, what it told, and the user's folder as it was."""

from __future__ import annotations

import fcntl
import marshal
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from normscope.session.parent import PACKAGE, STARTUP, interpreter_flags
from normscope.trials import outcome
from normscope.trials.arms import Arm
from normscope.trials.child import ALIVE, NOT_STARTED
from normscope.trials.files.tidying import tidy
from normscope.trials.metric import Metric, UnreadError, curve_of, diverged_at, thinned
from normscope.trials.results import Run
from normscope.trials.seeding import offset_of

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
PATIENCE = 5.0  # seconds from asking a run to end to ending it
Started = Callable[["subprocess.Popen[bytes]"], object]


class NotRunError(Exception):
    """A run was ended, or never began, for a reason that is not the script's."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be run. `words` follow the interpreter's flags; `steps` are those of the unchanged run of the seed, where they are known.

    `folder` is the run's own; paths below `spared` are left as the run leaves them. `threads` None: as the script's environment says.
    """

    words: tuple[str, ...]
    arm: Arm
    seed: int
    metric: Metric
    folder: str
    spared: tuple[str, ...] = ()
    steps: int | None = None
    threads: int | None = None


def perform(job: Job, started: Started = lambda _: None) -> Run:
    """Run it to its end; `started` is handed the process. Raises OSError where the user's folder cannot be put in order,
    and NotRunError.
    """
    folder = Path(job.folder)
    put_in_order(folder)  # an attempt that was broken off
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    before = _known(job.metric)
    began = time.perf_counter()
    try:
        status = _run(job, folder, started)
        seconds = time.perf_counter() - began
        told = outcome.read(folder / "outcome.json")
        wrote = (now := _known(job.metric)) is not None and now != before
        run = _judged(job, status, told, seconds, wrote)
    finally:
        written = put_in_order(folder)
    return msgspec.structs.replace(run, written=written)


def put_in_order(folder: Path) -> tuple[str, ...]:
    """End what still runs of an attempt in this folder, and undo what it did to files; the paths."""
    end_orphan(folder / ALIVE)
    return tidy(folder)


def end_orphan(file: Path) -> None:
    """End the run that holds this file, if it lives: its starter died without it."""
    try:
        fd = os.open(file, os.O_RDWR)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = int(os.read(fd, 20) or b"0")
        if pid > 1:
            _signal(pid, signal.SIGKILL)
        fcntl.flock(fd, fcntl.LOCK_EX)  # until the last of them has ended
    finally:
        os.close(fd)


def _run(job: Job, folder: Path, started: Started) -> int:
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, *interpreter_flags(sys.orig_argv), *job.words],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=_environment(job),
            start_new_session=True,  # Ctrl-C is ours to handle: a run is ended as a whole, its workers included
        )
        started(process)
        try:
            return process.wait()
        except BaseException:
            end(process)
            raise


def end(process: subprocess.Popen[bytes]) -> None:
    """End a run and everything that it started."""
    _signal(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        _signal(process.pid, signal.SIGKILL)
        process.wait()


def _signal(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


def _environment(job: Job) -> dict[str, str]:
    """The user's own, with the order for the child's start, which takes itself away before the script begins."""
    pythonpath = os.environ.get("PYTHONPATH")
    order = {
        "pythonpath": pythonpath,
        "package": str(PACKAGE),
        "folder": job.folder,
        "spared": list(job.spared),
        "arm": (job.arm.kind, job.arm.value),
        "offset": offset_of(job.seed),
        "steps": job.steps,
    }
    made = {
        # Sets of strings are walked through in the same order by every arm.
        "PYTHONHASHSEED": str(offset_of(job.seed) % 2**32),
        **os.environ,
        "NORMSCOPE_RUN": marshal.dumps(order).hex(),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(STARTUP), pythonpath])),
    }
    if job.threads is not None:
        made |= dict.fromkeys(THREADS, str(job.threads))
    return made


def _known(metric: Metric) -> tuple[int, int, int] | None:
    """What tells one writing of the metric's file from another; None without a file."""
    if metric.source != "file" or not metric.file.exists():
        return None
    known = metric.file.stat()
    return known.st_mtime_ns, known.st_size, known.st_ino


def _judged(job: Job, status: int, told: outcome.Told | None, seconds: float, wrote: bool) -> Run:
    """The run's result from its exit status and what it told."""
    known = told or outcome.Told()
    run = Run(
        arm=job.arm.name,
        seed=job.seed,
        status="finished",
        seconds=seconds,
        memory=known.memory,
        device_memory=known.device_memory,
        steps=known.steps,
        exchanged=known.exchanged,
        changed=known.changed,
        note=known.note,
        sources=known.sources,
    )
    if status == outcome.NO_COPY:
        raise NotRunError(known.reason)
    if status == NOT_STARTED:
        raise NotRunError(f"the run could not be set up ({crash(status, Path(job.folder))})")
    if status == outcome.NOT_APPLICABLE or (status == 0 and known.reason):
        return msgspec.structs.replace(run, status="not-applicable", reason=known.reason)
    folder = Path(job.folder)
    try:
        curve = curve_of(job.metric, folder / "stdout", told, wrote)
    except UnreadError as reason:
        if status == 0:
            return msgspec.structs.replace(run, status="no-metric", reason=str(reason))
        curve = []
    run = msgspec.structs.replace(run, curve=thinned(curve))
    if status != 0:
        return msgspec.structs.replace(run, status="crashed", reason=crash(status, folder))
    if (step := diverged_at(curve)) is not None:
        return msgspec.structs.replace(run, status="diverged", reason=f"diverged at step {step}")
    return msgspec.structs.replace(run, metric=curve[-1].value)


def crash(status: int, folder: Path) -> str:
    """In a sentence: the signal, or the last line that the script wrote on standard error."""
    if status < 0:
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        more = ": the system may have run out of memory" if -status == signal.SIGKILL else ""
        return f"killed by {name}{more}"
    text = (folder / "stderr").read_text(encoding="utf-8", errors="replace")
    last = next((x.strip() for x in reversed(text.splitlines()) if x.strip()), "")
    return f"crashed: {last[:200]}" if last else f"ended with status {status}"
