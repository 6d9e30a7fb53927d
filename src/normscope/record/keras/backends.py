# pyright: basic
"""What differs between Keras' backends: traced tensors, reading a variable, and who records gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras
import numpy as np
from keras.src import backend as keras_backend
from keras.src import tree
from numpy.typing import NDArray


def never() -> bool:
    return False


class Backend:
    """The parts that all backends share."""

    name = "numpy"
    compiling: Callable[[], bool] = staticmethod(never)  # inside `torch.compile`
    reads_while_tracing = False  # whether a variable's value can be had while a step is traced

    def traced(self, tensor: Any) -> bool:
        """Whether the tensor stands for values that are computed later, by a compiled function."""
        del tensor
        return False

    def recording(self) -> bool:
        """Whether gradients of what runs now may be asked for."""
        return False

    def watch(self, outputs: list[Any], reached: Callable[..., None]) -> bool:
        """Call `reached` when a backward pass uses one of the outputs; False where none can, or where that is not told."""
        del outputs, reached
        return False

    def tracing(self) -> Any:
        """What is being traced: an object of its own for each trace, where the backend has one."""
        return None

    def outside(self) -> AbstractContextManager[Any]:
        """Where variables have values although a step is being traced, as far as the backend allows that."""
        return nullcontext()

    def read(self, variable: Any) -> NDArray[Any]:
        """A copy of the variable's value on the host."""
        return np.array(keras_backend.convert_to_numpy(variable.value), copy=True)

    def host(self, tensor: Any) -> NDArray[Any]:
        """A copy of the tensor on the host."""
        return np.array(keras_backend.convert_to_numpy(tensor), copy=True)


class Torch(Backend):
    """Everything runs eagerly unless `jit_compile=True`; a tensor says itself whether a backward pass reaches it."""

    name = "torch"

    def __init__(self) -> None:
        import torch

        self.torch = torch
        self.compiling = torch.compiler.is_compiling

    def traced(self, tensor: Any) -> bool:
        return tensor.device.type == "meta"

    def recording(self) -> bool:
        return self.torch.is_grad_enabled()

    def watch(self, outputs: list[Any], reached: Callable[..., None]) -> bool:
        nodes = [t.grad_fn for t in outputs if getattr(t, "grad_fn", None) is not None]
        for node in nodes:
            node.register_prehook(reached)
        return bool(nodes)

    def read(self, variable: Any) -> NDArray[Any]:
        return variable.value.detach().to("cpu", copy=True).numpy()

    def host(self, tensor: Any) -> NDArray[Any]:
        return tensor.detach().to("cpu", copy=True).numpy()


class TensorFlow(Backend):
    """`fit` compiles its steps; hand-written loops run eagerly under a `GradientTape`."""

    name = "tensorflow"
    reads_while_tracing = True

    def __init__(self) -> None:
        from tensorflow.python.eager import context, record  # pyright: ignore
        from tensorflow.python.framework import ops  # pyright: ignore

        self._eager = context.executing_eagerly
        self._recording = record.could_possibly_record
        self._graph, self._outside = ops.get_default_graph, ops.init_scope

    def traced(self, tensor: Any) -> bool:
        del tensor
        return not self._eager()

    def recording(self) -> bool:
        return bool(self._recording())

    def tracing(self) -> Any:
        return None if self._eager() else self._graph()

    def outside(self) -> AbstractContextManager[Any]:
        return nullcontext() if self._eager() else self._outside()

    def read(self, variable: Any) -> NDArray[Any]:
        with self.outside():
            # Not `convert_to_numpy`: numpy would warn of how a variable gives its array.
            return np.array(variable.value.numpy())


class Jax(Backend):
    """All training is compiled, and what training changes is handed from step to step outside of the variables."""

    name = "jax"

    def __init__(self) -> None:
        import jax  # pyright: ignore[reportMissingImports]

        self._tracer = jax.core.Tracer

    def traced(self, tensor: Any) -> bool:
        return isinstance(tensor, self._tracer)


def current() -> Backend:
    """The backend that Keras runs on."""
    kinds = {"torch": Torch, "tensorflow": TensorFlow, "jax": Jax}
    return kinds.get(keras.config.backend(), Backend)()


def tensors_of(value: Any) -> Iterator[Any]:
    """The tensors in nested arguments, in order."""
    if keras_backend.is_tensor(value):  # by far the most common, and flattening is not free
        yield value
        return
    for leaf in tree.flatten(value):
        if keras_backend.is_tensor(leaf):
            yield leaf


def symbolic(args: Any, kwargs: Any) -> bool:
    """Whether a call only builds a functional model, or asks for shapes."""
    if keras_backend.in_symbolic_scope():
        return True
    if len(args) == 1 and keras_backend.is_tensor(args[0]):
        args = ()
    if not args and all(type(v) is bool for v in kwargs.values()):
        return False
    return any(isinstance(x, keras.KerasTensor) for x in tree.flatten((args, kwargs)))
