"""One run of the script under one arm, as a process of its own."""

from __future__ import annotations

import marshal
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from normscope.session.parent import PACKAGE, STARTUP, interpreter_flags
from normscope.session.target import Target
from normscope.trials.arms import Arm
from normscope.trials.seeding import offset_of

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be run: `arm` is what it does (for `random`, what that drew), `steps` those of the unchanged run."""

    target: Target
    arm: Arm
    seed: int
    steps: int | None
    outcome: Path  # where the run tells what it knows
    output: (
        Path  # where its standard output and error go, together in `output`, stdout alone beside it
    )
    threads: int | None = None  # None: as the script's own environment says

    @property
    def stdout(self) -> Path:
        return self.output.with_suffix(".stdout")


def command(job: Job) -> list[str]:
    return [sys.executable, *interpreter_flags(sys.orig_argv), *job.target.words]


def environment(job: Job) -> dict[str, str]:
    """The user's own, with the order for the child's start, which takes itself away before the script begins."""
    pythonpath = os.environ.get("PYTHONPATH")
    order = {
        "pythonpath": pythonpath,
        "package": str(PACKAGE),
        "outcome": str(job.outcome.absolute()),
        "arm": (job.arm.kind, job.arm.value),
        "offset": offset_of(job.seed),
        "steps": job.steps,
    }
    made = {
        **os.environ,
        "NORMSCOPE_RUN": marshal.dumps(order).hex(),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(STARTUP), pythonpath])),
    }
    if job.threads is not None:
        made |= dict.fromkeys(THREADS, str(job.threads))
    return made


def run(job: Job) -> int:
    """Run it to its end; the exit status. A run that is interrupted is ended with us."""
    with job.stdout.open("wb") as out, job.output.open("wb") as err:
        process = subprocess.Popen(
            command(job),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=environment(job),
            start_new_session=True,  # Ctrl-C is ours to handle: a run is ended as a whole, its workers included
        )
        try:
            return process.wait()
        except BaseException:
            end(process)
            raise


def end(process: subprocess.Popen[bytes]) -> None:
    """End a run and everything that it started."""
    import signal

    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    except ProcessLookupError:
        process.wait()
