# pyright: basic
"""Outermost module calls: each is noted as it begins and ends, and runs unchanged in between."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from time import perf_counter
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch._C import _functorch  # pyright: ignore[reportMissingModuleSource, reportAttributeAccessIssue]
from torch.compiler import is_compiling

from normscope.graph.torch import tensors_of
from normscope.record.guard import guarded
from normscope.record.timeline import Forward
from normscope.record.torch import live, roles
from normscope.record.torch.roots import Root
from normscope.record.torch.stack import user_site

if TYPE_CHECKING:
    from normscope.record.torch.observer import Observer


class Outermost:
    """Runs the module calls that come from outside any module."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer

    def run(
        self,
        original: Callable[..., Any],
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        frame: FrameType | None = None,
    ) -> Any:
        """Run the call and note what it did. `frame` made it: by default, the one above the module's `__call__`."""
        observer, graph = self.observer, self.observer.graph
        if is_compiling():
            return original(module, *args, **kwargs)
        frame = frame or sys._getframe(2)
        if not torch.is_grad_enabled():
            kind = observer.inferences.known(module, args, kwargs, frame)
            if kind is not None:
                return observer.inferences.run(kind, original, module, args, kwargs)
        if observer.backwards.running or self._is_no_root(module):
            return original(module, *args, **kwargs)  # recomputed by checkpointing; or a loss
        if (
            torch._C._get_tracing_state() is not None
            or _functorch.peek_interpreter_stack() is not None
            or self._has_no_values(module)
        ):
            return self._unrecorded(original, module, args, kwargs)
        began = perf_counter()
        root = self._root(module)
        if root is None:
            return original(module, *args, **kwargs)
        forward = self._begin(root, module, args, kwargs, frame)
        capture = graph.begin(root, module, args, kwargs) if forward is not None else None
        observer.inside = True
        observer.calls.current = forward
        spent = perf_counter() - began
        capturing = capture is not None and graph.enter(capture)
        try:
            out = original(module, *args, **kwargs)
        finally:
            if capturing:
                graph.leave(capture)
            observer.inside = False
            observer.calls.current = None
        began = perf_counter()
        if forward is not None and live.observer[0] is observer:
            if capturing:
                graph.keep(capture, out)
            self.end(forward, out)
            observer.inferences.learn(forward)
        self._charge(spent + perf_counter() - began)
        return out

    def _unrecorded(
        self,
        original: Callable[..., Any],
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Tracing, or inside a transform of torch.func: shapes are not what they seem. Or a model without values."""
        self.observer.inside = True
        try:
            return original(module, *args, **kwargs)
        finally:
            self.observer.inside = False

    @guarded
    def _is_no_root(self, module: nn.Module) -> bool:
        return self.observer.registry.is_no_root(module)

    @guarded
    def _has_no_values(self, module: nn.Module) -> bool:
        return self.observer.registry.has_no_values(module)

    @guarded
    def _root(self, module: nn.Module) -> Root | None:
        return self.observer.registry.root_of(module)

    @guarded
    def _charge(self, seconds: float) -> None:
        # Three times: with its norm calls, its backward and its step.
        routine = self.observer.routine
        routine.cost = 0.9 * routine.cost + 0.1 * 3 * seconds
        self.observer.books.charge(seconds)

    @guarded
    def _begin(
        self,
        root: Root,
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        frame: FrameType,
    ) -> Forward | None:
        observer, routine, steps = self.observer, self.observer.routine, self.observer.steps
        observer.schedule.begin()
        routine.meet(root)
        observer.norms.close_stray()
        steps.look_for_hand_written(root)
        if root.note_loan():
            steps.functional(root)
        observer.timeline.resolve(root, steps=steps.count)
        if root.layers and not observer.polling.started:
            observer.books.poll()
        site = user_site(3)
        if root.record.site is None:
            root.record.site = site
            observer.store.put("model", root.record.id, root.record)
        forward = Forward(root, module.training, steps.count, observer.moment, site)
        observer.traces.fill(forward, module, args)
        observer.places.called(root, site, frame)
        routine.note(forward, args, frame)
        observer.inferences.note(forward, module, args, kwargs, frame)
        observer.stand_ins.note(root, module)
        values = (*args, *kwargs.values())
        roles.note_input(forward, values)
        if len(observer.registry.roots) > 1:
            roles.note_producers(forward, values, observer.registry.roots)
        if root.module is module and (root.layers or root.own) and torch.is_grad_enabled():
            # Not of a slice of the model, made for this call.
            self._keep_batch(forward, args, kwargs)
        return forward

    def _keep_batch(self, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Copy the input before the forward may change it, where it is the turn of one."""
        observer, root, step = self.observer, forward.root, forward.step
        kept = observer.kept
        if not root.is_turn(forward) or not kept.due(root, step):
            return
        began = perf_counter()
        if kept.few(root, step) or observer.schedule.affords(1e-4):
            forward.kept = kept.copy(root, args, kwargs, step)
        else:
            kept.skip(root, step)
        observer.books.measured += perf_counter() - began

    @guarded
    def end(self, forward: Forward, out: Any) -> None:
        forward.ended = True
        observer, root = self.observer, forward.root
        tensors = [out] if type(out) is torch.Tensor else list(tensors_of(out))[:8]
        roles.note_outputs(forward, tensors, alone=len(observer.registry.roots) == 1)
        hooked = False
        for tensor in tensors:
            if tensor.grad_fn is not None:
                reached = functools.partial(observer.backwards.reached, forward)
                tensor.grad_fn.register_prehook(reached)
                hooked = True
        if forward.kept is not None:
            observer.losses.awaiting = forward
        root.pending.append(forward)
        if not hooked:
            self._resolve_unhooked(root, forward)
            if root.related and forward.step:
                observer.backwards.hold(root)
        observer.books.flush_when_due()

    def _resolve_unhooked(self, root: Root, forward: Forward) -> None:
        """A forward without an autograd graph is inference, for certain and at once, if none before it is open."""
        forward.kept = None
        if root.pending[0] is forward:
            root.pending.popleft()
            self.observer.timeline.commit(forward, "inference")
