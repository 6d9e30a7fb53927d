# pyright: basic
"""The observer: called by the patched functions and optimizer hooks, it keeps the recording and never gets in the way.

Every entry point is guarded: an exception of ours makes the observer inert, is told in the recording, and does not
reach the user's code. In forked processes it is inert from the start.
"""

from __future__ import annotations

import functools
import os
import sys
import traceback
from collections.abc import Callable
from time import perf_counter
from types import FrameType
from typing import Any

import msgspec
import numpy as np
import torch
from torch import nn
from torch._C import _functorch  # pyright: ignore[reportMissingModuleSource, reportAttributeAccessIssue]

from normscope.graph.torch import Capture, tensors_of
from normscope.record.recording import Event
from normscope.record.schedule import Schedule
from normscope.record.store import Store
from normscope.record.torch import live, patches, roles, targets
from normscope.record.torch.batches import KeptBatches
from normscope.record.torch.calls import NormCalls
from normscope.record.torch.forwards import Forward, Timeline
from normscope.record.torch.polling import Polling
from normscope.record.torch.roles import PLAIN
from normscope.record.torch.roots import Registry, Root
from normscope.record.torch.routine import Routine
from normscope.record.torch.scalars import ScalarSeries
from normscope.record.torch.stack import user_site
from normscope.record.torch.steps import Steps

FLUSH_EVERY = 0.5  # seconds
HELD_BYTES = 512 << 20  # models up to this size in all are kept alive for the probes at the end


def guarded(method: Callable[..., Any]) -> Callable[..., Any]:
    """Run an entry point so that no error of ours leaves it."""

    @functools.wraps(method)
    def entry(self: Observer, *args: Any) -> Any:
        try:
            return method(self, *args)
        except Exception as error:  # noqa: BLE001
            self.fail(error)
            return None

    return entry


class Observer:
    """What is known of the run so far. `observe` makes one and sets it live."""

    def __init__(self, store: Store, *, budget: float, keep_bytes: int, steps: int | None) -> None:
        self.store = store
        self.schedule = Schedule(budget)
        self.registry = Registry()
        self.timeline = Timeline(store)
        self.kept = KeptBatches(keep_bytes)
        self.scalars = ScalarSeries(store)
        self.steps = Steps(self)
        self.calls = NormCalls(self.registry, store, functools.partial(_used, self))
        self.polling = Polling(store, self.registry, self.schedule)
        self.routine = Routine(self)
        self.quiet = False  # inside a forward that is counted, not recorded
        self.limit = steps
        self.inside = False
        self.activity = 0  # grows with every backward and step: what lies between two is one block
        self.compiled = False
        self.held: list[tuple[Root, nn.Module]] = []
        self.events = 0
        self.probing = 0.0
        self._backward = 0
        self._awaiting: Forward | None = None
        self._captured = 0.0
        self._measured = 0.0  # seconds of the current entry that are a measurement
        self._flushed = perf_counter()
        self.process = os.getpid()
        self.failed = False
        self.watched: tuple[nn.Module, ...] = ()

    # ---- forwards -------------------------------------------------------------------------------

    def outermost(
        self,
        original: Callable[..., Any],
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Run an outermost module call and note what it did."""
        routine = self.routine
        if routine.active and self._repeats(module, args, sys._getframe(2)):
            return routine.run(original, module, args, kwargs)
        if self._backward or self._is_no_root(module):
            return original(module, *args, **kwargs)  # recomputed by checkpointing; or a loss
        if (
            torch._C._get_tracing_state() is not None
            or _functorch.peek_interpreter_stack() is not None
        ):
            return self._unrecorded(original, module, args, kwargs)
        began = perf_counter()
        root = self._root(module)
        if root is None:
            return original(module, *args, **kwargs)
        forward = self._begin(root, module, args, kwargs)
        capture = self._capture(root, module, args, kwargs) if forward is not None else None
        self.inside = True
        self.calls.current = forward
        spent = perf_counter() - began
        capturing = capture is not None and self._enter(capture)
        try:
            out = original(module, *args, **kwargs)
        finally:
            if capturing:
                self._leave(capture)
            self.inside = False
            self.calls.current = None
        began = perf_counter()
        if forward is not None and live.observer[0] is self:
            if capturing:
                self._keep_graph(capture, out)
            self._end(forward, out)
        self._charge_forward(spent + perf_counter() - began)
        return out

    @guarded
    def _charge_forward(self, seconds: float) -> None:
        # Three times: with its norm calls, its backward and its step.
        self.routine.cost = 0.9 * self.routine.cost + 0.1 * 3 * seconds
        self._charge(seconds)

    @guarded
    def _is_no_root(self, module: nn.Module) -> bool:
        return self.registry.is_no_root(module)

    @guarded
    def _repeats(self, module: nn.Module, args: tuple[Any, ...], frame: FrameType) -> bool:
        return self.routine.repeats(module, args, frame)

    def _unrecorded(
        self,
        original: Callable[..., Any],
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Tracing, or inside a transform of torch.func: shapes are not what they seem."""
        self.inside = True
        try:
            return original(module, *args, **kwargs)
        finally:
            self.inside = False

    @guarded
    def _root(self, module: nn.Module) -> Root | None:
        return self.registry.root_of(module)

    @guarded
    def _begin(
        self, root: Root, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Forward | None:
        self.schedule.begin()
        if self.routine.active:
            if self.routine.open or (torch.is_grad_enabled() and self.routine.foreign(root)):
                self.routine.leave()
            self.routine.settle()
        self._close_stray()
        self.steps.look_for_hand_written(root)
        if root.note_loan():
            self.steps.functional(root)
        self.timeline.resolve(root, steps=self.steps.count)
        if root.layers and not self.polling.started:
            self._poll()
        site = user_site(3)
        if root.record.site is None:
            root.record.site = site
            self.store.put("model", root.record.id, root.record)
        forward = Forward(root, module.training, self.steps.count, self.activity, site)
        self.routine.note(forward, args, sys._getframe(4))
        values = (*args, *kwargs.values())
        roles.note_input(forward, values)
        if len(self.registry.roots) > 1:
            roles.note_producers(forward, values, self.registry.roots)
        own = root.module is module  # not a slice of it, made for this call
        if (
            own
            and root.layers
            and torch.is_grad_enabled()
            and self.kept.due(root, self.steps.count)
        ):
            began = perf_counter()
            if self.kept.few(root, self.steps.count) or self.schedule.affords(1e-4):
                forward.kept = self.kept.copy(root, args, kwargs, self.steps.count)
            else:
                self.kept.skip(root, self.steps.count)
            self._measured += perf_counter() - began
        return forward

    @guarded
    def _end(self, forward: Forward, out: Any) -> None:
        forward.ended = True
        root = forward.root
        tensors = [out] if type(out) is torch.Tensor else list(tensors_of(out))[:8]
        roles.note_outputs(forward, tensors, alone=len(self.registry.roots) == 1)
        hooked = False
        for tensor in tensors:
            if tensor.grad_fn is not None:
                tensor.grad_fn.register_prehook(functools.partial(_used, self, forward))
                hooked = True
        if forward.kept is not None:
            self._awaiting = forward
        root.pending.append(forward)
        if not hooked:
            self._resolve_unhooked(root, forward)
        self._maybe_flush()

    def _resolve_unhooked(self, root: Root, forward: Forward) -> None:
        """A forward without an autograd graph is inference, for certain and at once, if none before it is open."""
        forward.kept = None
        if root.pending[0] is forward:
            root.pending.popleft()
            self.timeline.commit(forward, "inference")

    # ---- norm calls -----------------------------------------------------------------------------

    @guarded
    def on_batch_norm(
        self,
        x: torch.Tensor,
        stored: tuple[torch.Tensor | None, torch.Tensor | None],
        weight: torch.Tensor | None,
        training: bool,
        momentum: float,
        eps: float,
    ) -> None:
        """Before batch norm runs."""
        if type(x) not in PLAIN or torch._C._get_tracing_state() is not None:
            return
        recomputing = self._backward > 0
        if self.calls.current is None and not recomputing:
            if self.inside:
                return  # inside a call that is not recorded
            self.schedule.begin()
            self.calls.open_stray(self.steps.count, self.activity)
        self.calls.batch_norm(x, stored, weight, training, momentum, eps, recomputing=recomputing)

    @guarded
    def on_batch_normed(self, out: torch.Tensor) -> None:
        """After batch norm ran outside any module."""
        if self.calls.current is None and not self._backward:
            self.calls.hook_stray(out)

    @guarded
    def on_refused_norm(self, x: torch.Tensor, error: ValueError) -> None:
        """Batch norm refuses one value per channel with a ValueError."""
        if (event := self.calls.refused(x, self.steps.count, error)) is not None:
            self.put_event(event)

    @guarded
    def on_other_norm(
        self, kind: str, x: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        if type(x) in PLAIN and not self._backward:
            self.calls.other_norm(kind, x, args, kwargs)

    def _close_stray(self) -> None:
        if (root := self.calls.close_stray()) is not None:
            self.timeline.resolve(root, steps=self.steps.count)

    # ---- losses, backward, steps ----------------------------------------------------------------

    @guarded
    def on_loss(
        self, name: str, x: Any, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        if type(x) not in PLAIN:
            return
        if self.inside:  # the model computes its own loss
            if self.calls.current is not None and not torch.is_grad_enabled():
                self.calls.current.scored = True
            return
        if not torch.is_grad_enabled():
            targets.note_score(x, self.registry.roots, self.activity)
        forward, self._awaiting = self._awaiting, None
        if forward is not None and forward.kept is not None and x.requires_grad:
            targets.note_target(forward, name, x, target, args, kwargs)

    @guarded
    def on_decision(self, x: Any) -> None:
        """A class is chosen from a tensor: the output of an inference forward is being scored."""
        if type(x) in PLAIN and not self._backward:
            targets.note_score(x, self.registry.roots, self.activity)

    @guarded
    def on_scaled(self, loss: Any, scaled: Any) -> None:
        self.scalars.on_scaled(loss, scaled)

    @guarded
    def on_backward_begin(self, tensors: Any) -> None:
        self._backward += 1
        if self.routine.open:
            self.routine.used = True
        elif self._backward == 1:
            self.scalars.on_backward(tensors)

    @guarded
    def on_backward_end(self) -> None:
        self._backward = max(0, self._backward - 1)
        if self._backward or self.routine.open:
            return
        began = perf_counter()
        self.activity += 1
        self.routine.backwards += 1
        self._close_stray()
        for root in self.registry.roots:
            if root.pending:
                if any(f.used for f in root.pending):
                    self.steps.watch(root)
                self.timeline.resolve(root, steps=self.steps.count)
        self.schedule.charge(perf_counter() - began)

    @guarded
    def on_used(self, forward: Forward) -> None:
        if forward.used:
            return
        forward.used = True
        self.steps.trained = True
        root = forward.root
        if forward.kept is not None:
            models = sum(
                1 for r in self.registry.roots if r.layers and r.record.id in self.kept.batches
            )
            self.kept.keep(root, forward.kept, max(1, models))
            if self._awaiting is forward:
                self._awaiting = None
            forward.kept = None
        self._hold(root)

    def _hold(self, root: Root) -> None:
        """Keep the models trained last alive for the probes at the end, within a bound on their size."""
        if (self.held and self.held[-1][0] is root) or root.module is None or not root.layers:
            return
        self.held = [h for h in self.held if h[0] is not root]
        self.held.append((root, root.module))
        while sum(h[0].bytes for h in self.held) > HELD_BYTES:
            self.held.pop(0)

    @guarded
    def on_step(self, optimizer: torch.optim.Optimizer | None) -> None:
        """After a change of trainable parameters that a training forward preceded."""
        began = perf_counter()
        count = self.steps.count
        self.routine.settle()
        for root in self.registry.roots:
            if root.pending:
                own = optimizer is None or self.steps.owns(optimizer, root)
                self.timeline.resolve(root, steps=count, own_step=own)
        self.routine.learn(optimizer)
        if count & (count - 1) == 0:  # powers of two: facts change early, if at all
            self.refresh()
        start = perf_counter()
        polled = self.polling.due()
        if polled:
            self._poll()
        if self.scalars.due(count) and (polled or self.schedule.affords(1e-5)):
            self.scalars.take(count, optimizer)
        self._measured += perf_counter() - start
        self._maybe_flush()
        self._charge(perf_counter() - began)
        if self.limit is not None and count >= self.limit:
            self.stop()

    @guarded
    def on_counted_step(self, optimizer: torch.optim.Optimizer) -> None:
        """After a step of a known loop: no more than what the purse affords, and a look at the clock."""
        count = self.steps.count
        if count & (count - 1) == 0 or self.polling.due(peek=True) or count == self.limit:
            self.on_step(optimizer)
        elif count & 63 == 0:
            self.routine.settle()
            self._maybe_flush()

    def _charge(self, seconds: float) -> None:
        """Charge an entry's time, its measurements apart from its book-keeping."""
        measured, self._measured = self._measured, 0.0
        self.schedule.charge(measured, measuring=True)
        self.schedule.charge(max(0.0, seconds - measured))

    def _poll(self) -> None:
        for event in self.polling.poll(self.steps.count):
            self.put_event(event)

    # ---- graphs, compiled models -----------------------------------------------------------------

    @guarded
    def on_compile(self, model: Any) -> None:
        self.compiled = True
        name = (
            type(model).__name__
            if isinstance(model, nn.Module)
            else getattr(model, "__name__", "a function")
        )
        self.event(
            "compiled",
            detail=f"{name} is compiled: its running statistics are observed, its calls are not",
        )

    @guarded
    def _capture(
        self, root: Root, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Capture | None:
        """The first training forward of a model with norm layers is captured as a graph, once."""
        wanted = not root.captured and root.layers and torch.is_grad_enabled() and not self.compiled
        if not wanted or not (module.training or self.steps.count):
            return None
        root.captured = True
        began = perf_counter()
        capture = Capture(module, model_id=root.record.id)
        capture.inputs(args, kwargs)
        self.schedule.charge_startup(perf_counter() - began)
        return capture

    @guarded
    def _enter(self, capture: Capture) -> bool:
        self._captured = perf_counter()
        capture.__enter__()
        return True

    @guarded
    def _leave(self, capture: Capture) -> None:
        capture.__exit__(None, None, None)
        self.schedule.charge_startup(perf_counter() - self._captured)

    @guarded
    def _keep_graph(self, capture: Capture, out: Any) -> None:
        began = perf_counter()
        self.store.put_graph(capture.graph(out))
        self.schedule.charge_startup(perf_counter() - began)

    # ---- book-keeping ---------------------------------------------------------------------------

    def event(self, kind: str, **facts: Any) -> None:
        self.put_event(Event(kind=kind, step=self.steps.count, **facts))

    def put_event(self, event: Event) -> None:
        self.store.put("event", self.events, event)
        self.events += 1

    def metric(self, name: str, value: float, step: int | None) -> None:
        self.store.put_metric(name, self.steps.count if step is None else step, value)

    def refresh(self) -> None:
        """Bring the facts of models and layers up to date."""
        for root in self.registry.roots:
            root.refresh(self.steps.optimized)
            self.store.put("model", root.record.id, root.record)
        for layer in self.registry.layers:
            self.store.put("layer", layer.record.id, layer.record)

    def _maybe_flush(self) -> None:
        now = perf_counter()
        if now - self._flushed >= FLUSH_EVERY:
            self._flushed = now
            self._put_numbers()
            self.store.flush()

    def _put_numbers(self) -> None:
        self.routine.settle()
        self.store.put_meta("steps", self.steps.count)
        self.store.put_meta("cost", msgspec.to_builtins(self.schedule.cost(self.probing)))
        self.store.put_meta("optimizers", self.steps.names)

    def fail(self, error: BaseException) -> None:
        """Become inert after an error of our own, and say so."""
        live.observer[0] = None
        self.failed = True
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{os.path.basename(last.filename)}:{last.lineno}"
        try:
            self.event(
                "observer-error",
                detail=f"observing stopped at step {self.steps.count}: {type(error).__name__}: {error} ({where})",
            )
            self._put_numbers()
            self.store.flush()
        except Exception as second:  # noqa: BLE001
            # The store itself is broken; what it holds already is all there is, and the run must go on.
            self.lost = second

    def stop(self) -> None:
        """Observe no more; everything seen so far is kept and can be diagnosed."""
        if live.observer[0] is self:
            live.observer[0] = None
        if self.routine.active:
            self.routine.leave()
        self.timeline.finish(self.registry.roots, self.steps.count)
        self.refresh()
        self._put_numbers()
        self.store.flush()

    def finish(self) -> None:
        """The end of the run: commit what is open, read the statistics a last time, keep them per channel."""
        if os.getpid() != self.process:
            return
        try:
            if live.observer[0] is self:
                self._close_stray()
                for root in self.registry.roots:
                    self.steps.look_for_hand_written(root)
                self._poll()
                self.stop()
            for layer in self.registry.layers:
                if (stored := layer.buffers()) is not None and stored[
                    0
                ].numel() == layer.record.channels:
                    rows = [t.detach().double().cpu().numpy().reshape(-1) for t in stored]
                    self.store.put_channels(layer.record.id, np.stack(rows))
            self.store.flush()
        except Exception as error:  # noqa: BLE001
            self.fail(error)

    @guarded
    def started(self, seconds: float) -> None:
        """Count what installing took."""
        self.schedule.charge_startup(seconds)

    def flush(self) -> None:
        """Write what is known now, so that the recording can be read while the run goes on."""
        self.refresh()
        self._put_numbers()
        self.store.flush()

    def close(self) -> None:
        """Write what is left and let go of everything that belongs to the user."""
        self.held, self.watched = [], ()
        self._put_numbers()
        self.store.flush()


def _used(observer: Observer, forward: Forward, *_: Any) -> None:
    """Runs in the backward pass, maybe on another thread: the forward is a training forward."""
    if live.observer[0] is observer:
        observer.on_used(forward)


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
    observer.steps.install()
    live.observer[0] = observer
    _become_inert_in_forks()
    observer.started(perf_counter() - began)
    return observer


def active() -> Observer | None:
    """The observer that is live in this process, if any."""
    return live.observer[0]


@functools.cache
def _become_inert_in_forks() -> None:
    def inert() -> None:
        live.observer[0] = None

    os.register_at_fork(after_in_child=inert)
