"""Reading the running statistics while the purse affords it, in pairs of consecutive steps, as many as the file should hold."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import numpy as np

from normscope.record import series as numbers
from normscope.record.recording import Event
from normscope.record.schedule import Schedule, spaced
from normscope.record.store import Store

MOST = 1024
# Readings are evaluated together, so many or so many channels at the latest: most of what a small one costs is calls.
LOT = 16
CHANNELS = 1 << 13


class Polling:
    """When to read, what to keep of it, and the first sign of numbers that are not finite."""

    def __init__(
        self,
        store: Store,
        read: Callable[[int], numbers.Reading | None],
        schedule: Schedule,
    ) -> None:
        self.store = store
        self._read = read
        self.schedule = schedule
        self._latest: numbers.Reading | None = None
        self._waiting: list[numbers.Reading] = []
        self._before: numbers.Reading | None = None  # the reading before those that wait
        self._steps: list[int] = []
        self._cost = 1e-4  # seconds for one reading, learned as the run goes on
        self._pair = False
        self._told: set[int] = set()

    @property
    def started(self) -> bool:
        return self._latest is not None

    def due(self, step: int, *, peek: bool = False) -> bool:
        """A second reading right after a first is always due: two give back what lay between them."""
        latest = self._steps[-1] if self._steps else 0
        due = self._pair or (spaced(step, latest) and self.schedule.affords(2 * self._cost))
        if due and not peek:
            self._pair = not self._pair
        return due

    def poll(self, step: int) -> list[Event]:
        """Read; the events are those of `evaluate`, when it is time for that."""
        if self._latest is not None and self._latest.step == step:
            return []  # the end of the run, right after its last step's own reading
        began = perf_counter()
        reading = self._read(step)
        if reading is None:
            return []
        self._latest = reading
        self._waiting.append(reading)
        self._steps.append(step)
        full = len(self._waiting) * max(len(reading.mean), CHANNELS // LOT) >= CHANNELS
        events = self.evaluate() if full else []
        self._cost = 0.7 * self._cost + 0.3 * (perf_counter() - began)
        return events

    def evaluate(self) -> list[Event]:
        """Keep what the readings that wait tell; the events are layers seen with numbers that are not finite for the first time."""
        waiting, before = self._waiting, self._before
        if not waiting:
            return []
        self._waiting, self._before = [], waiting[-1]
        pairs = list(zip([before, *waiting], waiting, strict=False))
        events: list[Event] = []
        for old, new in pairs:
            since = None if old is None else old.step
            found = numbers.nonfinite(new, since)
            events += [e for e in found if e.layer not in self._told]
            self._told |= {e.layer for e in found if e.layer is not None}
        for new, table in zip(waiting, numbers.tables(pairs), strict=True):
            ids = np.array([x.record.id for x in new.layers], dtype=np.int32)
            self.store.put_poll(new.step, ids, table)
        if len(self._steps) > MOST:
            self._thin()
        return events

    def _thin(self) -> None:
        """Older readings go in pairs, which belong together; the first and the newest stay."""
        old = self._steps[1 : MOST // 2]
        dropped = {s for i, s in enumerate(old) if i // 2 % 2}
        self._steps = [s for s in self._steps if s not in dropped]
        self.store.drop_polls(dropped)
