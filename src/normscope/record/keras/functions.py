# pyright: basic
"""Compiled functions of the script's own, on TensorFlow: a `tf.function` that trains or evaluates a model.

Its Python code runs when it is traced; what the models did then is what each later call does again. An update of an
optimizer inside it makes a call a step.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

from keras.src import tree

from normscope.record.guard import guarded
from normscope.record.keras.backends import tensors_of
from normscope.record.keras.loops import FUNCTION, Applied, Loop
from normscope.record.keras.tracing import Traced, again, inputs_in, returned_at, samples_in

if TYPE_CHECKING:
    from normscope.record.keras.observer import Observer


@dataclass(slots=True)
class Known:
    """What one trace of a function did."""

    templates: list[Traced]
    applied: list[Applied]
    loops: (
        bool  # steps may run in a loop inside the function: their number is the optimizer's to tell
    )
    loss: int | None = None  # which of the function's outputs is the loss


class Functions:
    """Entry points of calls of compiled functions."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        # By function and size of the batch, what was traced last.
        self._known: weakref.WeakKeyDictionary[Any, dict[int, Known]] = weakref.WeakKeyDictionary()

    def run(
        self, call: Callable[..., Any], function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Call the function and tell what it did."""
        observer = self.observer
        if (
            observer.loops.stack
            or observer.inside
            or observer.backend.tracing() is not None
            or threading.get_ident() != observer.thread
        ):
            return call(function, *args, **kwargs)
        began = perf_counter()
        loop = self._begin(function)
        spent = perf_counter() - began
        try:
            result = call(function, *args, **kwargs)
        finally:
            observer.loops.stack = []
        if loop is not None and (loop.templates or function in self._known):
            began = perf_counter()
            self._end(loop, args, kwargs, result)
            observer.charge(spent + perf_counter() - began)
        return result

    @guarded
    def _begin(self, function: Any) -> Loop:
        observer = self.observer
        loop = Loop(FUNCTION, function, in_batch=True)
        if (known := self._known.get(function)) is not None:
            observer.schedule.begin()
            observer.steps.look_back()
            for one in known.values():
                if one.loops:
                    for x in one.applied:
                        x.before = int(observer.read(x.optimizer._iterations))
        observer.loops.stack = [loop]
        return loop

    @guarded
    def _end(self, loop: Loop, args: Any, kwargs: Any, result: Any) -> None:
        observer, function = self.observer, loop.model
        inputs = inputs_in(args, kwargs)
        samples = samples_in(inputs)
        known = self._known.setdefault(function, {})
        if loop.templates:
            observer.schedule.begin()
            known[samples] = _learned(loop)
            self._tell(loop)
        did = known.get(samples) or next(reversed(known.values()), None)
        if did is None:
            return
        if did.applied:
            self._stepped(did, inputs, samples, result)
        else:
            self._called(did, samples, result)
        observer.books.flush_when_due()

    def _stepped(self, did: Known, inputs: list[Any], samples: int, result: Any) -> None:
        """The call was a step, or a loop of steps."""
        observer = self.observer
        times = 1
        if did.loops:
            now = [int(observer.read(x.optimizer._iterations)) - x.before for x in did.applied]
            times = max([1, *now])
        for traced in did.templates:
            used = traced.used(stepped=True)
            root = traced.forward.root
            if used and not did.loops and root.layers:
                observer.books.measure(lambda t=traced, r=root: self._keep(r, t, inputs))
            for i in range(times):
                step = observer.steps.count + (i if used else 0)
                scored = traced.forward.scored and not used
                observer.loops.repeat(traced, samples, step, None, used=used, scored=scored)
        steps = observer.steps
        steps.trained = True
        variables: list[Any] = []
        for x in did.applied:
            steps.note(x.optimizer, x.variables)
            variables += x.variables
        if did.loss is not None and did.loss < len(flat := tree.flatten(result)):
            steps.loss = flat[did.loss]
        optimizer = did.applied[0].optimizer
        steps.step(observer.registry.root_with({id(v) for v in variables}), optimizer, times)

    def _keep(self, root: Any, traced: Traced, inputs: list[Any]) -> None:
        observer = self.observer
        kept, step = observer.kept, observer.steps.count
        if kept.due(root, step) and (kept.lacks(root) or observer.schedule.affords(1e-4)):
            observer.loops.sources.store(root, traced, inputs, step)

    def _called(self, did: Known, samples: int, result: Any) -> None:
        """The call changed no parameter: it is part of a step outside, or an answer."""
        observer = self.observer
        outputs = list(tensors_of(result))[:8]
        for traced in did.templates:
            root = traced.forward.root
            forward = again(traced, samples, observer.steps.count, observer.activity)
            forward.scored = traced.forward.scored
            if observer.backend.recording():
                root.pending.append(forward)
            else:
                observer.timeline.commit(forward, "inference")
            try:
                root.last_outputs = [(forward, weakref.ref(t)) for t in outputs]
                root.last_shapes = [tuple(t.shape) for t in outputs]
            except TypeError:
                root.last_outputs, root.last_shapes = [], []

    def _tell(self, loop: Loop) -> None:
        for traced in loop.templates:
            root = traced.forward.root
            if not root.compiled_told:
                root.compiled_told = True
                self.observer.event(
                    "compiled-loop",
                    model=root.record.id,
                    detail=f"{root.record.name} runs in a `tf.function` of the script: what it does was seen when it was traced, "
                    "and moving statistics are read between its calls",
                )


def _learned(loop: Loop) -> Known:
    loops = any(_is_inner(t.trace) for t in loop.templates)
    losses = (returned_at(t.trace, t.loss) for t in loop.templates if t.loss is not None)
    loss = None if loops else next((i for i in losses if i is not None), None)
    found = Known(loop.templates, loop.applied, loops, loss)
    for traced in found.templates:
        traced.trace = traced.loss = None  # a trace may hold much memory
    return found


def _is_inner(trace: Any) -> bool:
    """Whether a trace is part of another one: the body of a loop, a branch, a function that is called by the function."""
    return hasattr(getattr(trace, "outer_graph", None), "outer_graph")
