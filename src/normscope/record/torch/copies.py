# pyright: basic
"""Inputs of a known loop: copied from a counted step, which is a fifth of what recording it in full would take."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch

from normscope.graph.torch import tensors_of
from normscope.record.guard import guarded
from normscope.record.timeline import Forward
from normscope.record.torch import roles

if TYPE_CHECKING:
    from normscope.record.torch.observer import Observer


class Copies:
    """Copies the input of a counted forward, waits for its target and its step, and keeps it then."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self._cost = 1e-4  # seconds for one, learned
        self._forward: Forward | None = None

    def next(self, template: Forward, step: int) -> float:
        """The first step, `step` or later, whose input is to be copied; infinite when none is wanted."""
        kept, schedule, root = self.observer.kept, self.observer.schedule, template.root
        if (
            kept.due(root, step)
            and not kept.lacks(root, step)
            and not schedule.affords_batch(self._cost, step)
        ):
            kept.skip(root, step)
        return kept.next_due(root)

    @guarded
    def take(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Before a counted forward, which may change its input in place."""
        observer, template = self.observer, self.observer.routine.template
        observer.copy = False
        if template is None:
            return
        root, step = template.root, observer.count
        began = perf_counter()
        batch = observer.kept.copy(root, args, kwargs, step)
        if batch is not None:
            self._forward = Forward(root, template.training, step, observer.activity, template.site)
            self._forward.kept = batch
            observer.copying = True
        self._charge(perf_counter() - began)

    @guarded
    def ran(self, out: Any) -> None:
        """After that forward: its loss will be a function of `out`."""
        forward = self._forward
        if not self.observer.copying or forward is None:
            return
        began = perf_counter()
        tensors = [out] if type(out) is torch.Tensor else list(tensors_of(out))[:8]
        roles.note_outputs(forward, tensors, alone=len(self.observer.registry.roots) == 1)
        self.observer.losses.awaiting = forward
        self._charge(perf_counter() - began)

    def done(self, *, used: bool) -> None:
        """The step is over, or will not be the forward's: keep its input where a backward used it."""
        observer, forward = self.observer, self._forward
        if not observer.copying or forward is None:
            return
        began = perf_counter()
        observer.copying, self._forward = False, None
        if used:
            observer.backwards.keep(forward)
        if observer.losses.awaiting is forward:
            observer.losses.awaiting = None
        seconds = perf_counter() - began
        self._charge(seconds)

    def _charge(self, seconds: float) -> None:
        # Three times a copy: before and after the forward, and after the step.
        schedule = self.observer.schedule
        schedule.keeping += seconds
        schedule.charge(seconds, measuring=True)
        self._cost = 0.9 * self._cost + 0.1 * 3 * seconds
