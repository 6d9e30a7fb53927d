# pyright: basic
"""Calls of Keras models from outside any other: what each one is given, does and returns."""

from __future__ import annotations

import functools
import inspect
import threading
import weakref
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any

import keras
from keras.src import backend as keras_backend
from keras.src import tree

from normscope.record.guard import guarded
from normscope.record.keras import live
from normscope.record.keras.backends import symbolic, tensors_of
from normscope.record.keras.lines import user_site
from normscope.record.keras.registry import Root
from normscope.record.keras.tracing import Traced, arguments_of
from normscope.record.timeline import Forward

if TYPE_CHECKING:
    from normscope.record.keras.observer import Observer


class Outermost:
    """Entry points of `keras.Layer.__call__`."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self.current: Forward | None = None
        self.traced = False  # the current call is being compiled: it will run later, many times
        self._new: Root | None = None
        self._traced: Any = None  # the trace that the current call is a part of
        self._arguments: Any = None

    def run(
        self,
        call: Callable[..., Any],
        layer: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        traced: bool = False,
    ) -> Any:
        """Run an outermost call and tell what it was; a `traced` one runs on variables that are handed to it."""
        observer = self.observer
        if threading.get_ident() != observer.thread:
            return call(layer, *args, **kwargs)
        began = perf_counter()
        self.traced = traced
        self.current = self._begin(layer, args, kwargs)
        observer.inside = True
        spent = perf_counter() - began
        try:
            out = call(layer, *args, **kwargs)
        finally:
            observer.inside = False
            forward, self.current = self.current, None
        began = perf_counter()
        if forward is not None:
            self._end(forward, out)
        observer.charge(spent + perf_counter() - began)
        return out

    @guarded
    def _begin(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Forward | None:
        observer = self.observer
        self._new = None
        if symbolic(args, kwargs):
            return None
        first = next(tensors_of(args[0] if args else kwargs), None)
        self.traced = (
            self.traced
            or keras_backend.in_stateless_scope()
            or (first is not None and observer.backend.traced(first))
        )
        if self.traced and not observer.loops.compiles(layer):
            return None
        registry = observer.registry
        readable = not self.traced or observer.backend.reads_while_tracing
        root = registry.root_of(layer) if readable else registry.traced_root_of(layer)
        if root is None:
            return None
        if root.shapes is None:
            root.shapes = shapes_of(args, kwargs)
        observer.schedule.begin()
        if root not in observer.registry.roots:
            self._new = root  # whether it has weights is known when it is built: after this call
        site = user_site(3)
        if root.record.site is None:
            root.record.site = site
        observer.steps.look_back()
        if not self.traced:
            observer.timeline.resolve(root, steps=observer.steps.count)
            if root.layers and not observer.polling.started:
                observer.books.poll()
        training = training_argument(layer, args, kwargs)
        if not training:
            root.told_training = "training" in kwargs
        forward = Forward(root, training, observer.steps.count, observer.activity, site)
        if self.traced:
            self._traced = observer.backend.tracing()
            self._arguments = arguments_of(self._traced, args, kwargs)
            return forward
        self._note_input(forward, first)
        if (training or observer.backend.recording()) and root.model is layer and root.layers:
            observer.books.measure(functools.partial(self._keep, forward, args, kwargs))
        return forward

    def _note_input(self, forward: Forward, tensor: Any) -> None:
        """Whether the model gets the very tensor of its forward before."""
        root = forward.root
        before = None if root.last_input is None else root.last_input()
        forward.same_input = tensor is not None and before is tensor
        try:
            root.last_input = None if tensor is None else weakref.ref(tensor)
        except TypeError:  # a tensor that takes no weak reference is not compared
            root.last_input = None
        for other in self.observer.registry.roots:
            if other is not root and tensor is not None:
                for producer, ref in other.last_outputs:
                    if ref() is tensor:
                        forward.producers.append(producer)

    def _keep(self, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        observer, root, step = self.observer, forward.root, forward.step
        kept = observer.kept
        if kept.due(root, step) and (kept.lacks(root) or observer.schedule.affords(1e-4)):
            forward.kept = kept.copy(root, args, kwargs, step)

    @guarded
    def _end(self, forward: Forward, out: Any) -> None:
        observer, root = self.observer, forward.root
        forward.ended = True
        if self._new is not None:
            if not observer.registry.worth_keeping(root):
                return
            observer.registry.keep(root)
        if self.traced:
            told = observer.backend.reads_while_tracing
            if told:
                root.begin()  # a model that its first call built
            taped = observer.backend.recording() if told else None
            observer.loops.learn(Traced(forward, self._traced, taped, self._arguments))
            if told:
                root.last_outputs = [(forward, weakref.ref(t)) for t in list(tensors_of(out))[:8]]
                root.last_shapes = [()] * len(
                    root.last_outputs
                )  # what is made later is of no trace
            return
        observer.loops.ran()
        forward.scored = observer.loops.answering
        outputs = list(tensors_of(out))[:8]
        try:
            root.last_outputs = [(forward, weakref.ref(t)) for t in outputs]
            root.last_shapes = [tuple(t.shape) for t in outputs]
        except TypeError:
            root.last_outputs, root.last_shapes = [], []
        if observer.backend.watch(outputs, functools.partial(self.reached, forward)) or (
            observer.backend.name == "tensorflow" and observer.backend.recording()
        ):
            root.pending.append(forward)
        elif root.pending:
            forward.kept = None
            root.pending.append(forward)
            observer.timeline.resolve(root, steps=observer.steps.count)
        else:
            forward.kept = None
            observer.timeline.commit(forward, "inference")
        observer.books.flush_when_due()

    def reached(self, forward: Forward, *_: Any) -> None:
        """Runs in a backward pass, maybe on another thread: the forward is a training forward."""
        if live.observer[0] is self.observer:
            self.used(forward)

    @guarded
    def used(self, forward: Forward) -> None:
        """A gradient was taken through this forward."""
        if forward.used:
            return
        forward.used, forward.scored = True, False
        observer = self.observer
        observer.activity += 1
        observer.steps.trained = True
        if forward.kept is not None:
            models = sum(bool(r.layers) for r in observer.registry.roots)
            observer.kept.keep(forward.root, forward.kept, max(1, models))
            forward.kept = None
        observer.steps.watch(forward.root)


def shapes_of(args: Any, kwargs: Any) -> tuple[Any, Any] | tuple[()]:
    """The arguments of a call with stand-ins of the same shapes for its tensors; empty where one has no shape."""

    def stand_in(value: Any) -> Any:
        if not keras_backend.is_tensor(value) and not hasattr(value, "dtype"):
            return value
        return keras.KerasTensor(tuple(value.shape), keras_backend.standardize_dtype(value.dtype))

    kwargs = {k: v for k, v in kwargs.items() if k != "training"}
    try:
        found: Any = tree.map_structure(stand_in, (args, kwargs))
    except (TypeError, ValueError):  # sparse, ragged, or of unknown rank
        return ()
    return found


def training_argument(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """`training` as Keras resolves it for a call from outside: as given, else the default of `call`, else False."""
    value = kwargs.get("training")
    if value is not None:
        return flag(value)
    parameters = list(layer._call_signature.parameters.values())
    at = next((i for i, p in enumerate(parameters) if p.name == "training"), None)
    if at is not None:
        if at < len(args):
            value = args[at]
        elif parameters[at].default is not inspect.Parameter.empty:
            value = parameters[at].default
    return flag(value)


def flag(value: Any) -> bool:
    """A `training` argument as a flag; a tensor that is not computed yet counts as training."""
    try:
        return bool(value)
    except Exception:  # noqa: BLE001  frameworks raise what they like for a tensor without a value
        return True
