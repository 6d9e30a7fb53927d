"""Processes that measure one cell after the other, so that a framework is imported once in each of them."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from types import TracebackType
from typing import IO, Self, cast

from normscope.lab.running import Done, Task
from normscope.trials.starting import THREADS, end

Process = subprocess.Popen[bytes]


class Workers:
    """As many as were asked at once; each computes on one thread. A process that died is told as the failure of its cell, and another takes its place."""

    def __init__(self) -> None:
        self._idle: list[Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._idle:
            end(process)
            _close(process)

    def perform(self, task: Task, started: Callable[[Process], object]) -> Done:
        """Have it measured, in the thread of whoever asks."""
        try:
            process = self._idle.pop()
        except IndexError:
            process = _begun()
        started(process)
        questions, answers = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
        try:
            pickle.dump(task, questions)
            questions.flush()
            done = cast(Done, pickle.load(answers))
        except (OSError, EOFError, pickle.UnpicklingError):
            end(process)
            _close(process)
            return Done(task, None, 0.0, _death(process.returncode))
        self._idle.append(process)
        return done


def _begun() -> Process:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "normscope.lab.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **dict.fromkeys(THREADS, "1")},
        start_new_session=True,  # Ctrl-C is the parent's to handle
    )


def _close(process: Process) -> None:
    for pipe in (process.stdin, process.stdout):
        try:
            cast(IO[bytes], pipe).close()
        except BrokenPipeError:
            continue  # what it was not told any more


def _death(status: int) -> str:
    if status >= 0:
        return f"its process ended with status {status}"
    more = ": the system may have run out of memory" if status == -signal.SIGKILL else ""
    return f"its process was ended by {signal.Signals(-status).name}{more}"
