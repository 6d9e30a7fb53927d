# pyright: basic
"""Book-keeping: events, facts and numbers on their way into the store."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

import msgspec

from normscope.record.guard import guarded
from normscope.record.recording import Event

if TYPE_CHECKING:
    from normscope.record.torch.observer import Observer

FLUSH_EVERY = 0.5  # seconds, early;
RARER = 1 / 8  # of the time that the loop took, later: a flush takes up to a millisecond;
RAREST = 5.0  # and seconds


class Books:
    """Writes what is known, now and then; what lies between two flushes is lost to a crash."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self.measured = 0.0  # seconds of the current entry that are a measurement
        self._events = 0
        self._due = perf_counter() + FLUSH_EVERY

    def event(self, kind: str, **facts: Any) -> None:
        self.put_event(Event(kind=kind, step=self.observer.steps.count, **facts))

    def put_event(self, event: Event) -> None:
        self.observer.store.put("event", self._events, event)
        self._events += 1

    def refresh(self) -> None:
        """Bring the facts of models and layers up to date."""
        observer = self.observer
        observer.per_call.refresh()
        observer.places.refresh()
        for root in observer.registry.roots:
            root.refresh(observer.steps.optimized)
            observer.store.put("model", root.record.id, root.record)
        for layer in observer.registry.layers:
            observer.checkpoints.describe(layer.record, layer.module)
            observer.store.put("layer", layer.record.id, layer.record)

    def poll(self) -> None:
        """Read the running statistics."""
        self._tell(self.observer.polling.poll(self.observer.steps.count))

    def _tell(self, events: list[Event]) -> None:
        for event in events:
            self.put_event(event)

    def flush_when_due(self) -> bool:
        """Whether it was."""
        now = perf_counter()
        due = now >= self._due
        if due:
            wait = max(FLUSH_EVERY, min(RARER * self.observer.schedule.loop, RAREST))
            self._due = now + wait
            self.flush()
        return due

    def flush(self) -> None:
        """Write the numbers of the run, and everything that waits."""
        observer = self.observer
        observer.routine.settle()
        self._tell(observer.polling.evaluate())
        observer.gradients.flush()
        put = observer.store.put_meta_soon  # one transaction for all
        put("steps", observer.steps.count)
        cost = observer.schedule.cost(observer.probing)
        put("cost", msgspec.to_builtins(cost))
        put("optimizers", observer.steps.names)
        observer.store.flush()

    def charge(self, seconds: float) -> None:
        """Charge an entry's time, its measurements apart from its book-keeping."""
        measured, self.measured = self.measured, 0.0
        self.observer.schedule.charge(measured, measuring=True)
        self.observer.schedule.charge(max(0.0, seconds - measured))

    @guarded
    def started(self, seconds: float) -> None:
        """Count what installing took."""
        self.observer.schedule.charge_startup(seconds)
