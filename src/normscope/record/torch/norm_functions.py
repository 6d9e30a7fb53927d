# pyright: basic
"""Calls of norm functions, as the wrappers report them: whether one belongs to a forward, to none, or to a recomputation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch.compiler import is_compiling
from torch.overrides import has_torch_function

from normscope.record.guard import guarded
from normscope.record.torch.roles import PLAIN

if TYPE_CHECKING:
    from normscope.record.torch.observer import Observer


class NormFunctions:
    """Entry points of `F.batch_norm` and its kin."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer

    def run(
        self,
        original: Callable[..., torch.Tensor],
        x: torch.Tensor,
        mean: torch.Tensor | None,
        var: torch.Tensor | None,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        training: bool,
        momentum: float,
        eps: float,
        *more: Any,
    ) -> torch.Tensor:
        """Run a batch norm and note it."""
        words = (x, mean, var, weight, bias, training, momentum, eps, *more)
        if is_compiling() or has_torch_function((x, mean, var, weight, bias)):
            # A mode (`torch.set_default_device` sets one) or a subclass takes the call first, and makes it once more.
            return original(*words)
        self.before_batch_norm(x, (mean, var), weight, training, momentum, eps)
        try:
            out = original(*words)
        except ValueError as error:
            self.refused(x, error)
            raise
        if self.observer.per_call.updating is mean:
            self.moved()
        if not self.observer.inside:
            self.after_batch_norm(out)
        return out

    @guarded
    def before_batch_norm(
        self,
        x: torch.Tensor,
        stored: tuple[torch.Tensor | None, torch.Tensor | None],
        weight: torch.Tensor | None,
        training: bool,
        momentum: float,
        eps: float,
    ) -> None:
        if type(x) not in PLAIN or torch._C._get_tracing_state() is not None:
            return
        observer = self.observer
        recomputing = observer.backwards.running
        if observer.calls.current is None and not recomputing:
            if observer.inside:
                return  # inside a call that is not recorded
            observer.schedule.begin()
            observer.calls.open_stray(observer.steps.count, observer.moment)
        observer.calls.batch_norm(
            x, stored, weight, training, momentum, eps, recomputing=recomputing
        )

    @guarded
    def after_batch_norm(self, out: torch.Tensor) -> None:
        """After batch norm ran outside any module."""
        observer = self.observer
        if observer.calls.current is None and not observer.backwards.running:
            observer.calls.hook_stray(out)

    @guarded
    def moved(self) -> None:
        """After a batch norm whose running statistics were read before it."""
        self.observer.per_call.after()

    @guarded
    def refused(self, x: torch.Tensor, error: ValueError) -> None:
        """Batch norm refuses one value per channel with a ValueError."""
        observer = self.observer
        if (event := observer.calls.refused(x, observer.steps.count, error)) is not None:
            observer.books.put_event(event)

    @guarded
    def other_norm(self, kind: str, x: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if has_torch_function((x,)):
            return  # the call that a mode made of this one was noted
        if type(x) in PLAIN and not self.observer.backwards.running:
            self.observer.calls.other_norm(kind, x, args, kwargs)

    def close_stray(self) -> None:
        """End the forward that norm functions outside any module made up, if there is one."""
        observer = self.observer
        if (root := observer.calls.close_stray()) is not None:
            observer.timeline.resolve(root, steps=observer.steps.count)
