# pyright: basic
"""What follows each step: commit what is certain now, and measure what the purse affords."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

import torch

from normscope.record.guard import guarded
from normscope.record.torch.routine import SPACING

if TYPE_CHECKING:
    from normscope.record.torch.observer import Observer


class AfterStep:
    """Entry points of a finished step."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self.facts_at = 1  # at powers of two: facts change early, if at all
        self.loss_at = 0  # the step from which on the next loss is kept whatever it costs

    @guarded
    def step(self, optimizer: torch.optim.Optimizer | None) -> None:
        """After a change of trainable parameters that a training forward preceded."""
        began = perf_counter()
        observer, books = self.observer, self.observer.books
        count = observer.steps.count
        observer.routine.settle()
        for root in observer.registry.roots:
            if root.pending:
                own = optimizer is None or observer.steps.owns(optimizer, root)
                observer.timeline.resolve(root, steps=count, own_step=own)
        observer.per_call.close()
        observer.routine.learn(optimizer)
        if count >= self.facts_at:
            self.facts_at = 1 << count.bit_length()
            books.refresh()
        start = perf_counter()
        polled = observer.polling.due(count)
        if polled:
            books.poll()
        surely = count >= self.loss_at and observer.schedule.budget > 0
        if observer.scalars.due(count) and (polled or surely or observer.schedule.affords(1e-5)):
            observer.scalars.take(count, optimizer)
            self.loss_at = count + max(1, count // SPACING)
        books.measured += perf_counter() - start
        books.flush_when_due()
        books.charge(perf_counter() - began)
        observer.routine.look()
        if observer.limit is not None and count >= observer.limit:
            observer.told_to_stop(count)
            observer.stop()

    @guarded
    def counted(self, optimizer: torch.optim.Optimizer) -> None:
        """After a step of a known loop, now and then: what the purse affords, and a look at the clock."""
        observer = self.observer
        count = observer.steps.count
        due = observer.polling.due(count, peek=True)
        if count >= self.facts_at or due or count == observer.limit:
            self.step(optimizer)
            return
        began = perf_counter()
        if observer.books.flush_when_due():
            observer.books.charge(perf_counter() - began)
        observer.routine.look()
