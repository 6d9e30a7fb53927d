"""The time that probes go by: the run's own, so that an answer does not depend on what else the machine does."""

from __future__ import annotations

from time import perf_counter, thread_time

WAITING = 4  # seconds on the wall that count as one, where the thread only waits: for a device, or for its turn


class _Clock:
    def __init__(self) -> None:
        self._total = 0.0
        self._wall, self._own = perf_counter(), thread_time()

    def __call__(self) -> float:
        wall, own = perf_counter(), thread_time()
        # Called from another thread than before, the difference may be negative.
        self._total += max(own - self._own, (wall - self._wall) / WAITING)
        self._wall, self._own = wall, own
        return self._total


now = _Clock()  # seconds since some moment, as `perf_counter` gives them
