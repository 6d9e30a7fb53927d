# pyright: basic
"""What is exchanged in Keras while a model is followed, and put back afterwards: how layers and operations take tensors without values."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from keras import KerasTensor, Layer, Operation, Variable
from keras.src import backend, tree

from normscope.graph.keras.leaves import LEAVES
from normscope.graph.keras.operations import record
from normscope.graph.keras.recorder import Recorder

_local = threading.local()
# With a tensor that has no value a variable would ask the backend; the tensor can do it by itself.
_REFLECTED = {
    f"__{name}__": f"__r{name}__"
    for name in ("add", "sub", "mul", "truediv", "matmul", "pow", "floordiv")
}


def active() -> Recorder | None:
    """The recorder of the capture that runs in this thread."""
    return getattr(_local, "recorder", None)


@contextmanager
def recording(recorder: Recorder) -> Iterator[None]:
    """Follow layers and operations that are called inside the context in this thread."""
    undo: list[Callable[[], None]] = []
    _local.recorder = recorder
    try:
        _exchange(Layer, "symbolic_call", _layer, undo)
        _exchange(Layer, "__call__", _call, undo)
        _exchange(Operation, "symbolic_call", _operation, undo)
        _pass_through(undo)
        _give_way(undo)
        _exchange(Variable, "assign", _assign, undo)
        for name, reflected in _REFLECTED.items():
            _exchange(Variable, name, functools.partial(_reflect, reflected), undo)
        for cls, read in LEAVES.items():
            _exchange(cls, "call", functools.partial(_leaf, read), undo)
        yield
    finally:
        _local.recorder = None
        for step in reversed(undo):
            step()
        recorder.restore()


@contextmanager
def paused() -> Iterator[None]:
    recorder, _local.recorder = active(), None
    try:
        yield
    finally:
        _local.recorder = recorder


def _exchange(
    owner: type[Any], name: str, stand_in: Callable[..., Any], undo: list[Callable[[], None]]
) -> None:
    original = getattr(owner, name)
    own = name in vars(owner)

    @functools.wraps(original)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        recorder = active()
        if recorder is None:
            return original(self, *args, **kwargs)
        return stand_in(original, recorder, self, *args, **kwargs)

    setattr(owner, name, method)
    undo.append(
        functools.partial(setattr, owner, name, original)
        if own
        else functools.partial(delattr, owner, name)
    )


def _pass_through(undo: list[Callable[[], None]]) -> None:
    """Activations make sure that they have a tensor; one without values is one too."""
    original = backend.convert_to_tensor

    @functools.wraps(original)
    def convert_to_tensor(x: Any, *args: Any, **kwargs: Any) -> Any:
        if active() is not None and isinstance(x, KerasTensor):
            return x
        return original(x, *args, **kwargs)

    backend.convert_to_tensor = convert_to_tensor
    undo.append(functools.partial(setattr, backend, "convert_to_tensor", original))


def _give_way(undo: list[Callable[[], None]]) -> None:
    """An array of JAX would ask a tensor without values for its array; without that it leaves the operator to the tensor."""
    original = vars(KerasTensor).get("__jax_array__")
    if original is None:
        return

    def array(self: Any) -> Any:
        if active() is not None:
            raise AttributeError("__jax_array__")
        return functools.partial(original, self)

    setattr(KerasTensor, "__jax_array__", property(array))  # noqa: B010  no attribute of that kind, for the checker of types
    undo.append(functools.partial(setattr, KerasTensor, "__jax_array__", original))


def _symbolic(*values: Any) -> bool:
    return any(isinstance(t, KerasTensor) for t in tree.flatten(values))


def _layer(original: Any, recorder: Recorder, layer: Any, *args: Any, **kwargs: Any) -> Any:
    del original
    return recorder.follow(layer, args, kwargs)


def _call(original: Any, recorder: Recorder, layer: Any, *args: Any, **kwargs: Any) -> Any:
    if recorder.concrete and not _symbolic(args, kwargs):
        return recorder.inner(original, layer, args, kwargs)
    return original(layer, *args, **kwargs)


def _operation(original: Any, recorder: Recorder, operation: Any, *args: Any, **kwargs: Any) -> Any:
    recorder.touch(operation)
    result = original(operation, *args, **kwargs)
    record(recorder, operation, args, kwargs, result)
    return result


def _leaf(
    read: Any, original: Any, recorder: Recorder, layer: Any, *args: Any, **kwargs: Any
) -> Any:
    if not _symbolic(args, kwargs):
        return original(layer, *args, **kwargs)
    return read(recorder, functools.partial(original, layer), layer, *args, **kwargs)


def _assign(original: Any, recorder: Recorder, variable: Any, value: Any) -> Any:
    del recorder
    return value if isinstance(value, KerasTensor) else original(variable, value)


def _reflect(reflected: str, original: Any, recorder: Recorder, variable: Any, other: Any) -> Any:
    del recorder
    if isinstance(other, KerasTensor) and hasattr(other, reflected):
        return getattr(other, reflected)(variable)
    return original(variable, other)
