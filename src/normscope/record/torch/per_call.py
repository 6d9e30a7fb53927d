# pyright: basic
"""Layers that normalize several batches in one step: the batch statistics of each call, on some of the steps.

One reading a step gives back only the mixture of what several calls did to the running statistics. So the layers that
were seen to be called more than once are read before and after every call of a sampled step: O(channels), without
a pass over activations. The readings stay on the device until some steps are folded into sums.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch

from normscope.record.torch.contrasts import MOST_CALLS, Contrasts, Place, Taken
from normscope.record.torch.layers import NormLayer
from normscope.record.torch.norms import is_lazy

if TYPE_CHECKING:
    from normscope.record.timeline import Forward
    from normscope.record.torch.observer import Observer

NONE = object()  # no running mean
FOLDED = 8  # sampled steps that are folded at a time
BARREN = 32  # steps without two calls of any layer, after which the loop has changed
SPACING = 4  # a step is read after a quarter of the steps since such layers were found, whatever it costs: twenty of two hundred


class PerCall:
    """Which layers are called several times a step, when to read them, and what it cost."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self.contrasts = Contrasts(observer.store)
        self.sampling = False  # this step's calls are read
        self.updating: Any = NONE  # the running mean that a call which is read moves just now
        self._several: set[int] = set()  # ids of layers
        self._found: set[int] = set()  # new ones; not in the middle of a step
        self._barred: set[int] = set()  # that are so no more
        self._places: dict[int, tuple[Forward, int, int]] = {}
        self._taken: list[Taken] = []
        self._barren = 0
        self._hooks = 0.0  # seconds within the forwards of this step
        self._next = 0  # the step from which on the next one is wanted
        self._since = 0  # the step at which such layers were found
        self._cost = 2e-4  # of one sampled step, learned

    def before(
        self,
        layer: NormLayer,
        forward: Forward,
        stored: tuple[torch.Tensor | None, torch.Tensor | None],
        momentum: float,
        samples: int,
    ) -> None:
        """A call that will move `stored`, running mean and variance, with weight `momentum`."""
        number = layer.record.id
        last = layer.last_forward
        if last is not None and last.step == forward.step and number not in self._several:
            self._found.add(number)
        if not self.sampling or number not in self._several or not torch.is_grad_enabled():
            return
        began = perf_counter()
        known, ordinal, position = self._places.get(number, (None, -1, 0))
        ordinal, position = (ordinal, position + 1) if known is forward else (ordinal + 1, 0)
        self._places[number] = (forward, ordinal, position)
        mean, var = stored
        if ordinal + position < MOST_CALLS and readable(mean, var):
            place = Place(forward.site, ordinal, position)
            taken = Taken(layer, forward, place, samples, float(momentum), (mean, var))
            self._taken.append(taken)
            self.updating = mean
        self._hooks += perf_counter() - began

    def after(self) -> None:
        """The call that was announced is done."""
        self.updating = NONE
        began = perf_counter()
        self._taken[-1].done()
        self._hooks += perf_counter() - began

    def due(self) -> bool:
        """Whether the next step is to be read, and therefore recorded in full."""
        if not self.sampling and self._several:
            wanted = self.observer.steps.count >= self._next
            self.sampling = wanted or self.observer.schedule.affords(self._cost)
        return self.sampling

    def close(self) -> None:
        """A step is over: keep what training forwards did, and choose whether to read the next."""
        if self.sampling:
            began = perf_counter()
            if self.contrasts.add([t for t in self._taken if t.forward.used and t.complete]):
                self.sampling, self._barren = False, 0
                step = self.observer.steps.count
                self._next = step + max(1, (step - self._since) // SPACING)
                if self.contrasts.waiting >= FOLDED:
                    self.contrasts.fold()
            else:
                self._barren += 1
                if self._barren >= BARREN:
                    self.sampling, self._barren = False, 0
                    self._barred |= self._several
                    self._several.clear()
            self._places.clear()
            self._taken.clear()
            took = perf_counter() - began
            hooks, self._hooks = self._hooks, 0.0
            self.observer.schedule.charge(hooks, measuring=True)
            self.observer.books.measured += took
            self._cost = 0.7 * self._cost + 0.3 * (hooks + took)
        if not self._several:
            self._since = self.observer.steps.count
        self._several |= self._found - self._barred
        self._found.clear()
        self.due()

    def refresh(self) -> None:
        """Bring the recording up to date."""
        self.contrasts.write()


def readable(mean: torch.Tensor | None, var: torch.Tensor | None) -> bool:
    """Whether both are there and hold numbers; not while a CUDA graph is captured, which would replay the reading."""
    if mean is None or var is None or is_lazy(mean) or mean.is_meta or mean.dtype != var.dtype:
        return False
    return not (mean.is_cuda and torch.cuda.is_current_stream_capturing())
