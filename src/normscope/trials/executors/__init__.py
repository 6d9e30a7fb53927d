"""Where runs are carried out: processes of this machine, or the workers of a Ray cluster, behind one interface."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol, TypeVar

from normscope.trials.results import Run

Work = TypeVar("Work")
Task = TypeVar("Task", contravariant=True)
Result = TypeVar("Result")
# Carries a piece of work out, and hands on every process that it does it in.
Perform = Callable[[Work, Callable[["subprocess.Popen[bytes]"], object]], Result]


class Executor(Protocol[Task, Result]):
    """`room` is how many runs may be under way at once; `threads` how many each computes with, None: as the script says."""

    room: int
    threads: int | None
    note: str

    def submit(self, job: Task) -> Future[Result]:
        """Begin a run. Its future raises what carrying it out raised: OSError where the user's folder could not be put in order."""
        ...

    def learn(self, run: Run) -> None:
        """Fit `room` to what the first run needed."""
        ...

    def close(self) -> None:
        """End what is under way, and wait until the files are in order."""
        ...
