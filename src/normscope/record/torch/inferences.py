# pyright: basic
"""Inference forwards that are known: each goes into the timeline like the ones before it, without a look inside.

What evaluates, teaches, acts or sets targets between the steps of a training loop does the same every time, and may run far more
often than the loop steps. Once some forwards from one place in evaluation mode and without gradients did the same, the next one
is taken to do so too if it looks so from outside. Now and then one is looked into again.
"""

from __future__ import annotations

from time import perf_counter
from types import FrameType
from typing import TYPE_CHECKING, Any
from weakref import ref as ref_to

import torch
from torch import Tensor, nn
from torch._C import _functorch  # pyright: ignore[reportMissingModuleSource, reportAttributeAccessIssue]

from normscope.record.guard import guarded
from normscope.record.timeline import Forward
from normscope.record.torch import live, roles
from normscope.record.torch.loop import Loop, alike, traits

if TYPE_CHECKING:
    from collections.abc import Callable

    from normscope.record.torch.observer import Observer

LEARNED = 4  # forwards in a row that did the same
AGAIN = 4  # one is looked into after a quarter of those before it: thirty of the first thousand
MOST = 256  # kinds; for one more the oldest is forgotten


class Inference(Loop):
    """Forwards of one model from one place, with inputs of one shape."""

    __slots__ = ("again", "forward", "number", "streak")

    def __init__(self, forward: Forward, module: nn.Module) -> None:
        super().__init__()
        self.forward = forward  # the latest one that was looked into
        self.module, self.training = ref_to(module), module.training
        self.norms = traits(forward.root)
        self.number = 0  # forwards
        self.again = 0  # the number of the next one to look into
        self.streak = 0  # of those that did the same


class Inferences:
    """What is known of inference forwards, by where they are called from."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self._kinds: dict[tuple[Any, ...], Inference] = {}
        self._running: tuple[Forward, nn.Module, tuple[Any, ...]] | None = None  # looked into

    # ---- learning -------------------------------------------------------------------------------

    def note(
        self,
        forward: Forward,
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        frame: FrameType,
    ) -> None:
        """A forward begins that is looked into; `frame` called the module."""
        plain = (
            module is forward.root.module and not torch.is_grad_enabled() and _plain(args, kwargs)
        )
        self._running = (forward, module, _key(module, args, frame)) if plain else None

    @guarded
    def learn(self, forward: Forward) -> None:
        """It is over and, as far as it could be, committed."""
        running, self._running = self._running, None
        if running is None or running[0] is not forward:
            return
        _, module, key = running
        kind = self._kinds.get(key)
        if not self._can_be_known(forward):
            self._kinds.pop(key, None)
            return
        if kind is None or kind.module() is not module or not _same(kind.forward, forward):
            if len(self._kinds) >= MOST:
                del self._kinds[next(iter(self._kinds))]
            kind = self._kinds[key] = Inference(forward, module)
        kind.forward, kind.norms = forward, traits(forward.root)
        kind.streak += 1
        kind.number += 1
        kind.again = kind.number + max(1, kind.number // AGAIN)

    def _can_be_known(self, forward: Forward) -> bool:
        """Whether it did nothing but compute: with stored statistics that lie in the model, for itself, and was committed."""
        root = forward.root
        return (
            forward.span is not None
            and not (forward.scored or forward.producers or forward.used)
            and not any(batch_stats for _, batch_stats, *_ in forward.calls)
            and not (root.swapped or root.own or self.observer.compiled)
            and not any(x.elsewhere for x in root.layers)
        )

    # ---- knowing --------------------------------------------------------------------------------

    @guarded
    def known(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], frame: FrameType
    ) -> Inference | None:
        """The kind that a call without gradients is one more of; None where it has to be looked into."""
        observer = self.observer
        if not self._kinds or not _plain(args, kwargs):
            return None
        kind = self._kinds.get(_key(module, args, frame))
        if kind is None or kind.streak < LEARNED or kind.number >= kind.again:
            return None
        root = kind.forward.root
        if (
            kind.module() is not module
            or root.pending
            or root.watched is not None
            or root.swapped
            or observer.calls.stray is not None
            or (observer.open and not observer.routine.foreign(root))
            or torch._C._get_tracing_state() is not None
            or _functorch.peek_interpreter_stack() is not None
            or not alike(kind.norms)
        ):
            return None
        return kind

    def run(
        self,
        kind: Inference,
        original: Callable[..., Any],
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Run a call that is known, and commit it as one more of its kind."""
        observer, began = self.observer, perf_counter()
        forward = self._begin(kind, module, args)
        observer.inside = observer.quiet = True
        spent = perf_counter() - began
        try:
            out = original(module, *args, **kwargs)
        finally:
            observer.inside = observer.quiet = False
        began = perf_counter()
        if forward is not None and live.observer[0] is observer:
            observer.forwards.end(forward, out)
            self._charge(spent + perf_counter() - began)
        return out

    @guarded
    def _charge(self, seconds: float) -> None:
        self.observer.schedule.charge(seconds)

    @guarded
    def _begin(self, kind: Inference, module: nn.Module, args: tuple[Any, ...]) -> Forward:
        observer, before = self.observer, kind.forward
        root = before.root
        observer.routine.meet(root)
        forward = Forward(root, before.training, observer.count, observer.moment, before.site)
        forward.calls = before.calls
        observer.stand_ins.note(root, module)
        roles.note_input(forward, args)
        if len(observer.registry.roots) > 1:
            roles.note_producers(forward, args, observer.registry.roots)
        kind.number += 1
        return forward


def _plain(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a call is given tensors and nothing else."""
    return bool(args) and not kwargs and all(type(x) is Tensor and not x.is_nested for x in args)


def _key(module: nn.Module, args: tuple[Any, ...], frame: FrameType) -> tuple[Any, ...]:
    shapes = [x.shape for x in args]
    return (frame.f_code, frame.f_lasti, id(module), module.training, *shapes)


def _same(one: Forward, other: Forward) -> bool:
    return one.root is other.root and one.calls == other.calls and one.site == other.site
