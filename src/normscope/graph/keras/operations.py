# pyright: basic
"""Reading one operation of `keras.ops`, by what it computes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras.src import backend, tree

from normscope.graph.keras.recorder import Recorder, shape_of
from normscope.graph.keras.reshaping import VIEWS, sources_of
from normscope.graph.model import (
    Activation,
    Add,
    Affine,
    Cast,
    Concat,
    Multiply,
    Norm,
    Op,
    Opaque,
    Pool,
    Shift,
    View,
)

# The names are ATen's, which graphs use throughout.
ACTIVATIONS = {
    "Relu": "relu",
    "Relu6": "relu6",
    "LeakyRelu": "leaky_relu",
    "Elu": "elu",
    "Selu": "selu",
    "Celu": "celu",
    "Gelu": "gelu",
    "Silu": "silu",
    "HardSilu": "hardswish",
    "Sigmoid": "sigmoid",
    "HardSigmoid": "hardsigmoid",
    "LogSigmoid": "log_sigmoid",
    "Tanh": "tanh",
    "HardTanh": "hardtanh",
    "Softplus": "softplus",
    "SoftShrink": "softshrink",
    "HardShrink": "hardshrink",
    "Threshold": "threshold",
    "Clip": "clamp",
    "ReLU": "relu",  # `keras.activations.relu` with a slope, a bound or a threshold
    "Mish": "mish",
}
CASTS = frozenset(
    ["Cast", "SaturateCast", "ConvertToTensor", "StopGradient", "Copy", "Array", "Positive"]
)


class Call(NamedTuple):
    """An operation with its arguments, and the nodes behind those that are no constants."""

    operation: Any
    args: tuple[Any, ...]
    result: Any
    value: Callable[[Any], str | None]

    def constant(self, position: int) -> bool:
        return self.value(self.args[position]) is None


class Read(NamedTuple):
    op: Op
    reads: tuple[Any, ...]
    facts: dict[str, Any] = {}  # noqa: RUF012  a default that nobody changes


def record(
    recorder: Recorder, operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
) -> None:
    """One operation on shapes. What is not understood is opaque; what no value of the model enters is a constant."""
    nodes = recorder.read((args, kwargs))
    if not nodes:
        return
    name = type(operation).__name__
    call = Call(operation, (*args, *kwargs.values()), result, recorder.value)
    reader = READERS.get(name) if type(operation).__module__.startswith("keras.src.") else None
    read = reader(call) if reader is not None else None
    if read is None:
        recorder.emit(Opaque(_snake(name)), nodes, result)
    elif isinstance(read.op, View) and len(tree.flatten(result)) > 1:
        for part in tree.flatten(result):  # one node for each part of a split
            recorder.emit(read.op, recorder.read(read.reads), part)
    else:
        recorder.emit(read.op, recorder.read(read.reads), result, facts=read.facts)


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))


def activation(call: Call) -> Read:
    name = type(call.operation).__name__
    slope = getattr(call.operation, "negative_slope", 0.0) if name == "ReLU" else 0.0
    bound = getattr(call.operation, "max_value", None) if name == "ReLU" else None
    told = (
        "leaky_relu"
        if slope
        else "relu6"
        if bound == 6
        else "clamp"
        if bound
        else ACTIVATIONS[name]
    )
    return Read(Activation(told), call.args[:1])


def cast(call: Call) -> Read | None:
    source, result = call.args[0], tree.flatten(call.result)[0]
    if backend.is_float_dtype(source.dtype) and not backend.is_float_dtype(result.dtype):
        return None  # rounding changes the values
    return Read(Cast(str(result.dtype)), (source,))


def addition(call: Call) -> Read:
    first, second = call.args[:2]
    if not call.constant(0) and not call.constant(1):
        return Read(Add(), (first, second))
    reads, constant = (second, first) if call.constant(0) else (first, second)
    return Read(Shift(), (reads,), _constant(constant))


def product(call: Call) -> Read | None:
    first, second = call.args[:2]
    if not call.constant(0) and not call.constant(1):
        return Read(Multiply(), (first, second))
    if "Divide" in type(call.operation).__name__ and call.constant(0):
        return None  # 1 / x is no product
    reads, constant = (second, first) if call.constant(0) else (first, second)
    return Read(Multiply(constant=True), (reads,), _constant(constant))


def negative(call: Call) -> Read:
    return Read(Multiply(constant=True), call.args[:1])


def clamp(call: Call) -> Read | None:
    """The larger or smaller of an activation and a constant."""
    first, second = call.args[:2]
    if call.constant(0) == call.constant(1):
        return None
    name = "clamp_min" if type(call.operation).__name__ in ("Maximum", "Fmax") else "clamp_max"
    return Read(Activation(name), (second if call.constant(0) else first,))


def _constant(value: Any) -> dict[str, Any]:
    if isinstance(value, keras.Variable):
        return {"constant": tuple(value.shape), "weight": True}
    return {"constant": tuple(getattr(value, "shape", ())), "weight": False}


def view(call: Call) -> Read:
    source = call.args[0]
    result = tree.flatten(call.result)[0]
    return Read(
        View(sources_of(call.operation, call.args, shape_of(source), shape_of(result))), (source,)
    )


def concat(call: Call) -> Read:
    dims = len(tree.flatten(call.result)[0].shape)
    return Read(Concat(call.operation.axis % max(dims, 1)), tuple(tree.flatten(call.args[0])))


def pool(call: Call) -> Read:
    name = type(call.operation).__name__
    source, result = call.args[0], call.result
    last = (call.operation.data_format or keras.config.image_data_format()) == "channels_last"
    space = shape_of(result)[1:-1] if last else shape_of(result)[2:]
    kind = "max" if "Max" in name else "avg"
    return Read(Pool(kind, over_all=all(n == 1 for n in space)), (source,))


def resize(call: Call) -> Read:
    """Every new value is a weighted average of old ones of its channel."""
    return Read(Pool("avg"), call.args[:1])


def reduction(call: Call) -> Read | None:
    """A mean or maximum over all positions is a pool; over other dimensions it is not modelled."""
    x = call.args[0]
    dims = len(x.shape)
    axis = call.operation.axis
    axes = range(dims) if axis is None else axis if isinstance(axis, (tuple, list)) else [axis]
    over = {int(a) % max(dims, 1) for a in axes}
    positions = (set(range(2, dims)), set(range(1, dims - 1))) if dims > 2 else ()
    if over not in positions:
        return None
    kind = "avg" if type(call.operation).__name__ == "Mean" else "max"
    return Read(Pool(kind, over_all=True), (x,))


def convolution(call: Call) -> Read | None:
    if not all(call.constant(i) for i in range(1, len(call.args))):
        return None  # the kernel is itself computed from activations
    last = (call.operation.data_format or keras.config.image_data_format()) == "channels_last"
    axis = len(call.result.shape) - 1 if last else 1
    return Read(Affine("conv", axis=axis), call.args[:1])


def matmul(call: Call) -> Read | None:
    """`x W` maps the last dimension, `W x` the one before it. A constant that is no weight may mix samples."""
    left, right = call.args[:2]
    last = len(call.result.shape) - 1
    if call.constant(1) and len(right.shape) > 1:
        return Read(Affine("linear", axis=last), (left,))
    if call.constant(0) and isinstance(left, keras.Variable) and len(left.shape) > 1:
        return Read(Affine("linear", axis=max(last - 1, 0)), (right,))
    return None


def einsum(call: Call) -> Read | None:
    """A product with one weight is linear where it writes one new dimension."""
    terms, _, written = call.operation.subscripts.replace(" ", "").partition("->")
    parts = terms.split(",")
    if len(parts) != 2 or not written or call.constant(0) == call.constant(1):
        return None
    x, weight = (1, 0) if call.constant(0) else (0, 1)
    new = [i for i, c in enumerate(written) if c in parts[weight] and c not in parts[x]]
    if len(new) != 1 or "." in written or not isinstance(call.args[weight], keras.Variable):
        return None
    return Read(Affine("linear", axis=new[0]), (call.args[x],))


def batch_norm(call: Call) -> Read:
    """With statistics that were computed from the data they are the batch's."""
    x, mean, variance, *affine = call.args
    dims = shape_of(x)
    axis = call.operation.axis % len(dims)
    taken = call.value(mean) is not None or call.value(variance) is not None
    return Read(
        Norm(
            "batch",
            channels=dims[axis],
            eps=float(call.operation.epsilon),
            momentum=None,
            axis=axis,
            batch_stats=taken,
            tracks=isinstance(mean, keras.Variable),
            affine=any(a is not None for a in affine),
            values=math.prod(dims) // max(dims[axis], 1) if taken else None,
        ),
        (x,),
    )


def layer_norm(call: Call) -> Read:
    x, *affine = call.args
    axis = call.operation.axis
    axes = [a % len(x.shape) for a in (axis if isinstance(axis, (tuple, list)) else [axis])]
    over = math.prod(shape_of(x)[a] for a in axes)
    eps = call.operation.epsilon
    rms = type(call.operation).__name__ == "RMSNorm" or getattr(
        call.operation, "rms_scaling", False
    )
    return Read(
        Norm(
            "rms" if rms else "layer",
            channels=over,
            eps=float(keras.config.epsilon() if eps is None else eps),
            momentum=None,
            axis=min(axes),
            tracks=False,
            affine=any(a is not None for a in affine),
            values=over,
        ),
        (x,),
    )


READERS: dict[str, Callable[[Call], Read | None]] = {
    **dict.fromkeys(ACTIVATIONS, activation),
    **dict.fromkeys(CASTS, cast),
    **dict.fromkeys(VIEWS, view),
    **dict.fromkeys(("Add", "Subtract"), addition),
    **dict.fromkeys(("Multiply", "Divide", "TrueDivide", "DivideNoNan"), product),
    "Negative": negative,
    **dict.fromkeys(("Maximum", "Minimum", "Fmax", "Fmin"), clamp),
    "Concatenate": concat,
    **dict.fromkeys(("MaxPool", "AveragePool", "AdaptiveMaxPool", "AdaptiveAveragePool"), pool),
    "Resize": resize,
    **dict.fromkeys(("Mean", "Max", "Amax"), reduction),
    **dict.fromkeys(("Conv", "DepthwiseConv", "SeparableConv", "ConvTranspose"), convolution),
    **dict.fromkeys(("Matmul", "Dot"), matmul),
    "Einsum": einsum,
    "BatchNorm": batch_norm,
    **dict.fromkeys(("LayerNorm", "RMSNorm"), layer_norm),
}
