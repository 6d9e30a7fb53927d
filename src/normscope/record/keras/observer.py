# pyright: basic
"""The observer: its parts are called by the wrapped methods of Keras, keep the recording and never get in the way.

Every entry point is guarded: an exception of ours makes the observer inert, is told in the recording, and does not
reach the user's code. In forked processes it is inert from the start.
"""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401  what the probes import needs it, and at exit it is too late
import functools
import os
import sys
import threading
import weakref
from time import perf_counter
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from normscope.graph.model import Site
from normscope.record.keras import backends, live, patches
from normscope.record.keras.batches import KeptBatches
from normscope.record.keras.books import Books
from normscope.record.keras.calls import NormCalls
from normscope.record.keras.functions import Functions
from normscope.record.keras.lines import user_site
from normscope.record.keras.loops import Loops
from normscope.record.keras.losses import Losses
from normscope.record.keras.outermost import Outermost
from normscope.record.keras.registry import FIRST, Registry
from normscope.record.keras.steps import Steps
from normscope.record.observing import Observing
from normscope.record.polling import Polling
from normscope.record.schedule import Schedule
from normscope.record.store import Store
from normscope.record.timeline import Timeline


class Observer(Observing):
    """What is known of the run so far. `observe` makes one and sets it live."""

    cell = live.observer
    what = "observing Keras"
    steps: Steps
    books: Books

    def __init__(self, store: Store, *, budget: float, keep_bytes: int, steps: int | None) -> None:
        self.store = store
        self.process, self.thread = os.getpid(), threading.get_ident()
        self.version = str(keras.__version__)
        self.limit = steps
        self.inside = False  # an outermost call runs
        self.activity = (
            0  # grows with every backward pass and step: what lies between two is one block
        )
        self.probing = 0.0
        self.backend = backends.current()
        self.built_at: weakref.WeakKeyDictionary[Any, Site] = weakref.WeakKeyDictionary()
        self.schedule = Schedule(budget)
        self.registry = Registry(self.read)
        self.timeline = Timeline(store, first=FIRST)
        self.kept = KeptBatches(keep_bytes, self.backend)
        self.books = Books(self)
        self.polling = Polling(store, self.books.read, self.schedule)
        self.steps = Steps(self)
        self.loops = Loops(self)
        self.functions = Functions(self)
        self.losses = Losses(self)
        self.forwards = Outermost(self)
        self.calls = NormCalls(self)
        self.registry.on_first.append(self._take_over)

    def _take_over(self) -> None:
        """The first Keras model is found: of two observers, the one whose framework the script uses keeps the books."""
        module = sys.modules.get("normscope.record.torch.live")
        if module is None or (other := module.observer[0]) is None:
            return
        if not other.registry.roots:
            module.observer[0] = None
            return
        live.observer[0] = None
        self.event(
            "keras",
            detail=f"{self.version}: the script also runs models of PyTorch's own; of the two, only these are evaluated",
        )
        self.books.flush()

    def read(self, variable: Any) -> NDArray[Any]:
        """The value of a variable, wherever the backend holds it just now."""
        state = self.loops.state_of(variable)
        return self.backend.read(variable) if state is None else self.backend.host(state)

    def made(self, layer: Any) -> None:
        """A norm layer is being made: the user's line that does it is where it is told of."""
        try:
            if (site := user_site(2)) is not None:
                self.built_at[layer] = site
        except Exception as error:  # noqa: BLE001
            self.fail(error)

    def charge(self, seconds: float) -> None:
        """Charge an entry's time, its measurements apart from its book-keeping."""
        measured, self.books.measured = self.books.measured, 0.0
        self.schedule.charge(measured, measuring=True)
        self.schedule.charge(max(0.0, seconds - measured))

    def stop(self) -> None:
        """Observe no more; everything seen so far is kept and can be diagnosed."""
        self.silence()
        self.timeline.finish(self.registry.roots, self.steps.count)
        self.flush()

    def finish(self) -> None:
        """The end of the run: commit what is open, read the statistics a last time, keep them per channel."""
        if os.getpid() != self.process:
            return
        readable = self.loops.readable
        try:
            if live.observer[0] is self:
                self.steps.look_back()
                if self.registry.layers and readable:
                    self.books.poll()
                self.stop()
            for layer in self.registry.layers if readable else ():
                kept = layer.read() if layer.record.kind == "batch" else None
                if kept is not None and len(kept[0]) == layer.record.channels:
                    self.store.put_channels(layer.record.id, np.stack(kept).astype(np.float64))
            self.store.flush()
        except Exception as error:  # noqa: BLE001
            self.fail(error)

    def close(self) -> None:
        """Write what is left."""
        self.books.flush()


def observe(
    store: Store, *, budget: float = 0.01, keep_bytes: int = 64 << 20, steps: int | None = None
) -> Observer:
    """Begin to observe every Keras model that this process trains.

    Args:
        store: where the recording goes; the caller closes it after `finish`.
        budget: share of the loop's time that observing may take.
        keep_bytes: bound on the host copies of training inputs.
        steps: observe no more after so many; None: to the end.
    """
    began = perf_counter()
    observer = Observer(store, budget=budget, keep_bytes=keep_bytes, steps=steps)
    patches.install()
    if (torch := sys.modules.get("normscope.record.torch.registry")) is not None:
        torch.FOREIGN.append(keras.Layer)
    live.observer[0] = observer
    _become_inert_in_forks()
    observer.schedule.charge_startup(perf_counter() - began)
    return observer


def active() -> Observer | None:
    """The observer that is live in this process, if any."""
    return live.observer[0]


@functools.cache
def _become_inert_in_forks() -> None:
    def inert() -> None:
        live.observer[0] = None

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=inert)
