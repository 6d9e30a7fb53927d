# pyright: basic
"""The observer: its parts are called by the patched functions and optimizer hooks, keep the recording and never get in
the way.

Every entry point is guarded: an exception of ours makes the observer inert, is told in the recording, and does not
reach the user's code. In forked processes it is inert from the start.
"""

from __future__ import annotations

import functools
import os
from time import perf_counter

import numpy as np
import torch
from torch import nn

from normscope.record.observing import Observing
from normscope.record.polling import Polling
from normscope.record.schedule import Schedule
from normscope.record.store import Store
from normscope.record.timeline import Timeline
from normscope.record.torch import buffers, constructors, live, patches
from normscope.record.torch.after_step import AfterStep
from normscope.record.torch.backwards import Backwards
from normscope.record.torch.batches import KeptBatches
from normscope.record.torch.books import Books
from normscope.record.torch.calls import NormCalls
from normscope.record.torch.capturing import GraphCapture
from normscope.record.torch.checkpoints import Checkpoints
from normscope.record.torch.copies import Copies
from normscope.record.torch.gradients import GradientSeries
from normscope.record.torch.inferences import Inferences
from normscope.record.torch.losses import Losses
from normscope.record.torch.norm_functions import NormFunctions
from normscope.record.torch.outermost import Outermost
from normscope.record.torch.per_call import PerCall
from normscope.record.torch.places import Places
from normscope.record.torch.pulse import Pulse
from normscope.record.torch.registry import Registry
from normscope.record.torch.routine import Routine
from normscope.record.torch.scalars import ScalarSeries
from normscope.record.torch.stand_ins import StandIns
from normscope.record.torch.steps import Steps
from normscope.record.torch.traces import Traces


class Observer(Pulse, Observing):
    """What is known of the run so far. `observe` makes one and sets it live."""

    cell = live.observer
    steps: Steps
    books: Books

    def __init__(self, store: Store, *, budget: float, keep_bytes: int, steps: int | None) -> None:
        super().__init__()
        self.store = store
        self.process = os.getpid()
        self.limit = steps
        # The state that the parts share, beside the pulse.
        self.activity = 0  # grows with every backward and step: what lies between two is one block
        self.compiled = False
        self.probing = 0.0  # seconds that the probes took at the end
        self.watched: tuple[nn.Module, ...] = ()
        # What is known.
        self.schedule = Schedule(budget)
        self.registry = Registry()
        self.timeline = Timeline(store)
        self.kept = KeptBatches(keep_bytes)
        self.scalars = ScalarSeries(store)
        self.gradients = GradientSeries(self)
        self.stand_ins = StandIns(self)
        self.polling = Polling(
            store, lambda step: buffers.read(self.registry.own_layers(), step), self.schedule
        )
        self.steps = Steps(self)
        self.per_call = PerCall(self)
        self.routine = Routine(self)
        self.copies = Copies(self)
        self.books = Books(self)
        self.places = Places(self)
        self.registry.on_root.append(self.places.model)
        self.registry.on_adopted.append(self.places.adopted)
        self.registry.on_called.append(self.places.function)
        # Who is called, by what the script does.
        self.forwards = Outermost(self)
        self.inferences = Inferences(self)
        self.graph = GraphCapture(self)
        self.traces = Traces(self)
        self.checkpoints = Checkpoints(self)
        self.norms = NormFunctions(self)
        self.losses = Losses(self)
        self.backwards = Backwards(self)
        self.after_step = AfterStep(self)
        # Every module call from outside any module comes here: see `Routine` for the other entry.
        self.call = self.forwards.run
        self.calls = NormCalls(self.registry, store, self.backwards.reached, self.per_call)

    @property
    def moment(self) -> int:
        """`activity`, with what counted steps will have added once they are settled."""
        return self.activity + 2 * self.counted + self.used

    def stop(self) -> None:
        """Observe no more; everything seen so far is kept and can be diagnosed."""
        self.silence()
        if self.routine.active:
            self.routine.leave()
        self.timeline.finish(self.registry.roots, self.steps.count)
        self.flush()

    def finish(self) -> None:
        """The end of the run: commit what is open, read the statistics a last time, keep them per channel."""
        if os.getpid() != self.process:
            return
        try:
            if live.observer[0] is self:
                self.norms.close_stray()
                for root in self.registry.roots:
                    self.steps.look_for_hand_written(root)
                self.books.poll()
                self.stop()
            for layer in self.registry.layers:
                stored = layer.buffers()
                if stored is not None and stored[0].numel() == layer.record.channels:
                    rows = [t.detach().double().cpu().numpy().reshape(-1) for t in stored]
                    self.store.put_channels(layer.record.id, np.stack(rows))
            self.store.flush()
        except Exception as error:  # noqa: BLE001
            self.fail(error)

    def close(self) -> None:
        """Write what is left and let go of everything that belongs to the user."""
        self.backwards.held, self.watched = [], ()
        self.books.flush()


def observe(
    store: Store, *, budget: float = 0.01, keep_bytes: int = 64 << 20, steps: int | None = None
) -> Observer:
    """Begin to observe everything that this process trains.

    Args:
        store: where the recording goes; the caller closes it after `finish`.
        budget: share of the loop's time that observing may take.
        keep_bytes: bound on the host copies of training inputs.
        steps: observe no more after so many; None: to the end.
    """
    began = perf_counter()
    observer = Observer(store, budget=budget, keep_bytes=keep_bytes, steps=steps)
    store.put_meta("framework", "torch")
    store.put_meta("framework_version", str(torch.__version__))
    patches.install()
    constructors.install()
    observer.steps.install()
    live.observer[0] = observer
    _become_inert_in_forks()
    observer.books.started(perf_counter() - began)
    return observer


def active() -> Observer | None:
    """The observer that is live in this process, if any."""
    return live.observer[0]


@functools.cache
def _become_inert_in_forks() -> None:
    def inert() -> None:
        live.observer[0] = None

    os.register_at_fork(after_in_child=inert)
