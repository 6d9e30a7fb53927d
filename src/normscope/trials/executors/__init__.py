"""Where runs are carried out: processes of this machine, or the workers of a Ray cluster, behind one interface."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Protocol

from normscope.trials.results import Run
from normscope.trials.starting import Job


class Executor(Protocol):
    """`room` is how many runs may be under way at once; `threads` how many each computes with, None: as the script says."""

    room: int
    threads: int | None
    note: str

    def submit(self, job: Job) -> Future[Run]:
        """Begin a run. Its future raises OSError where the user's folder could not be put in order."""
        ...

    def learn(self, run: Run) -> None:
        """Fit `room` to what the first run needed."""
        ...

    def close(self) -> None:
        """End what is under way, and wait until the files are in order."""
        ...
