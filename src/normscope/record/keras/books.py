# pyright: basic
"""Book-keeping: events, facts and numbers on their way into the store."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from normscope.record.keras.registry import FIRST
from normscope.record.recording import Event
from normscope.record.series import Reading

if TYPE_CHECKING:
    from normscope.record.keras.observer import Observer

FLUSH_EVERY = 0.5  # seconds


class Books:
    """Writes what is known, now and then; what lies between two flushes is lost to a crash."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self.measured = 0.0  # seconds of the current entry that are a measurement
        self._events = FIRST
        self._flushed = perf_counter()

    def event(self, kind: str, **facts: Any) -> None:
        self._put(Event(kind=kind, step=self.observer.steps.count, **facts))

    def _put(self, event: Event) -> None:
        self.observer.store.put("event", self._events, event)
        self._events += 1

    def measure(self, take: Callable[[], None]) -> None:
        """Take a measurement; its time is charged apart from that of book-keeping."""
        began = perf_counter()
        take()
        self.measured += perf_counter() - began

    def refresh(self) -> None:
        """Bring the facts of models and layers up to date."""
        observer = self.observer
        if not observer.loops.readable:
            return
        for root in observer.registry.roots:
            root.refresh(observer.steps.optimized)
            observer.store.put("model", root.record.id, root.record)
        for layer in observer.registry.layers:
            observer.store.put("layer", layer.record.id, layer.record)

    def read(self, step: int) -> Reading | None:
        """All moving statistics as they are now."""
        held = [
            (layer, kept)
            for layer in self.observer.registry.layers
            if layer.record.kind == "batch" and (kept := layer.read()) is not None
        ]
        if not held:
            return None
        sizes = [len(mean) for _, (mean, _) in held]
        return Reading(
            step,
            [layer for layer, _ in held],
            np.cumsum([0, *sizes[:-1]]),
            np.concatenate([mean.astype(np.float64) for _, (mean, _) in held]),
            np.concatenate([var.astype(np.float64) for _, (_, var) in held]),
            [layer.record.updates for layer, _ in held],
            [np.nan if layer.alpha is None else layer.alpha for layer, _ in held],
            [float(np.finfo(mean.dtype).eps) if mean.dtype.kind == "f" else 2**-8 for _, (mean, _) in held],
        )  # fmt: skip

    def poll(self) -> None:
        """Keep the moving statistics as they are now."""
        self._tell(self.observer.polling.poll(self.observer.steps.count))

    def _tell(self, events: list[Event]) -> None:
        for event in events:
            self._put(event)

    def flush_when_due(self) -> None:
        now = perf_counter()
        if now - self._flushed >= FLUSH_EVERY:
            self._flushed = now
            self.flush()

    def flush(self) -> None:
        observer = self.observer
        self._tell(observer.polling.evaluate())
        if observer.registry.roots:
            put = observer.store.put_meta_soon
            put("framework", "keras")
            put("framework_version", observer.version)
            put("backend", observer.backend.name)
            put("steps", observer.steps.count)
            put("cost", msgspec.to_builtins(observer.schedule.cost(observer.probing)))
            put("optimizers", observer.steps.names)
        observer.store.flush()
