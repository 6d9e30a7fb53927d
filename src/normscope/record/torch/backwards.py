# pyright: basic
"""Backward passes: what they reach was a training forward."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from normscope.record.guard import guarded
from normscope.record.timeline import Forward
from normscope.record.torch import live
from normscope.record.torch.roots import Root

if TYPE_CHECKING:
    from normscope.record.torch.observer import Observer

HELD_BYTES = 512 << 20  # models up to this size in all are kept alive for the probes at the end


class Backwards:
    """Entry points of `torch.autograd.backward` and `grad`, and of the hooks that they run."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self.held: list[tuple[Root, nn.Module]] = []

    @property
    def running(self) -> bool:
        """Whether this thread is inside a backward pass: what runs here was recomputed."""
        return torch._C._current_graph_task_id() != -1

    def run(self, original: Callable[..., Any], tensors: Any, *args: Any, **kwargs: Any) -> Any:
        """Run a backward pass, unless it is one inside another, and say what it was."""
        if self.running:
            return original(tensors, *args, **kwargs)
        self._begin(tensors)
        try:
            return original(tensors, *args, **kwargs)
        finally:
            self._end()

    @guarded
    def _begin(self, tensors: Any) -> None:
        self.observer.scalars.on_backward(tensors)

    @guarded
    def _end(self) -> None:
        observer = self.observer
        began = perf_counter()
        observer.activity += 1
        observer.routine.backwards += 1
        observer.norms.close_stray()
        for root in observer.registry.roots:
            if root.pending:
                if any(f.used for f in root.pending):
                    observer.steps.watch(root)
                    if root.record.id in observer.steps.by_hand:
                        observer.gradients.take_by_hand(root)
                observer.timeline.resolve(root, steps=observer.steps.count)
        observer.schedule.charge(perf_counter() - began)

    def reached(self, forward: Forward, *_: Any) -> None:
        """Runs in the backward pass, maybe on another thread: the forward is a training forward."""
        if live.observer[0] is self.observer:
            self._used(forward)

    @guarded
    def _used(self, forward: Forward) -> None:
        if forward.used:
            return
        forward.used = True
        observer = self.observer
        observer.steps.trained = True
        root = forward.root
        if root.shares:
            observer.registry.claim(root)
        if forward.kept is not None:
            self.keep(forward)
            if observer.losses.awaiting is forward:
                observer.losses.awaiting = None
        self.hold(root)

    def keep(self, forward: Forward) -> None:
        """Keep the input of a forward that a backward used."""
        kept, roots = self.observer.kept, self.observer.registry.roots
        models = sum(1 for r in roots if (r.layers or r.own) and r.record.id in kept.batches)
        kept.keep(forward.root, forward.kept, max(1, models))
        forward.kept = None

    def hold(self, root: Root) -> None:
        """Keep the models trained last, and copies of them that are evaluated, alive for the probes at the end, within a bound on their size."""
        if (self.held and self.held[-1][0] is root) or root.module is None:
            return
        if not (root.layers or root.own):
            return
        self.held = [h for h in self.held if h[0] is not root]
        self.held.append((root, root.module))
        while sum(h[0].bytes for h in self.held) > HELD_BYTES:
            self.held.pop(0)
