"""Runs as processes of this machine, as many at once as cores were asked for and memory allows."""

from __future__ import annotations

import os
import subprocess
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Generic

from normscope.errors import NormscopeError
from normscope.trials.executors import Perform, Result, Work
from normscope.trials.results import Run
from normscope.trials.starting import end

SHARE = 0.9  # of the memory that is available when the first run has ended


class LocalExecutor(Generic[Work, Result]):
    """With one job at a time a run computes as the script alone would; with several, each has its share of the cores.

    `perform` is called in a thread for each run; the processes that it tells of are ended when this is closed.
    """

    def __init__(self, jobs: int, perform: Perform[Work, Result]) -> None:
        self._carry_out = perform
        self.room = jobs
        self.threads = None if jobs == 1 else max(1, cores() // jobs)
        self.note = ""
        self._pool = ThreadPoolExecutor(jobs, thread_name_prefix="normscope-run")
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._closing = False

    def submit(self, job: Work) -> Future[Result]:
        return self._pool.submit(self._perform, job)

    def learn(self, run: Run) -> None:
        if self.room == 1 or run.memory <= 0:
            return
        fit = max(1, int(SHARE * available_memory() // run.memory))
        if fit < self.room:
            self.note = f"{fit} instead of {self.room} runs at once: each needs {run.memory / 1e9:.2g} GB of memory"
            self.room = fit

    def close(self) -> None:
        with self._lock:
            self._closing = True
            running = list(self._running)
        for process in running:
            end(process)
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _perform(self, job: Work) -> Result:
        mine: list[subprocess.Popen[bytes]] = []

        def started(process: subprocess.Popen[bytes]) -> None:
            mine.append(process)
            with self._lock:
                self._running.add(process)
                closing = self._closing
            if closing:
                end(process)

        try:
            return self._carry_out(job, started)
        finally:
            with self._lock:
                self._running.difference_update(mine)


def jobs_of(text: str) -> int:
    """How many runs at once: a number, or `auto` for one for each core. Raises NormscopeError."""
    if text == "auto":
        return cores()
    if not text.isdecimal() or int(text) < 1:
        raise NormscopeError(
            f"`--jobs {text}` was given, but a whole number from 1 on, or `auto`, was expected."
        )
    return int(text)


def cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def available_memory() -> float:
    """Bytes that new processes can have: what the system has left, within the limit of our control group."""
    system = _system_memory()
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())
        return min(system, limit - int((group / "memory.current").read_text()))
    except (OSError, ValueError):
        return system


def _system_memory() -> float:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass  # not Linux: all that is built in must do
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
