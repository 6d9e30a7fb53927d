# pyright: basic
"""Layers that are one operation by meaning: norms, linear maps, dropout, and those whose code only runs on values."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import msgspec
import numpy as np
from keras import KerasTensor, layers
from keras.src import backend
from keras.src.layers.convolutional.base_conv import BaseConv
from keras.src.layers.convolutional.base_conv_transpose import BaseConvTranspose
from keras.src.layers.convolutional.base_depthwise_conv import BaseDepthwiseConv
from keras.src.layers.convolutional.base_separable_conv import BaseSeparableConv
from keras.src.layers.regularization.spatial_dropout import BaseSpatialDropout

from normscope.graph.keras.layers import paths_in
from normscope.graph.keras.recorder import Recorder, shape_of
from normscope.graph.keras.recurrent import recurrent, time_distributed
from normscope.graph.model import Affine, Dropout, Multiply, Norm, Op, Opaque, Pool, Shift

Leaf = Callable[..., Any]


def result_of(call: Any, layer: Any, *args: Any, **kwargs: Any) -> Any:
    """The shapes that the layer's own code gives; by its declared shape where nothing was overridden."""
    declared = not getattr(type(layer).compute_output_shape, "_is_default", False)
    if declared and isinstance(args[0], KerasTensor):
        shape = layer.compute_output_shape(tuple(args[0].shape))
        if None not in shape:
            return KerasTensor(shape, layer.compute_dtype)
    return backend.compute_output_spec(call, *args, **kwargs)


def one(read: Callable[..., Op | None]) -> Leaf:
    """A layer that is one node, with its activation after it where it has one. None: the values pass unchanged."""

    def leaf(recorder: Recorder, call: Any, layer: Any, inputs: Any, **kwargs: Any) -> Any:
        op = read(layer, shape_of(inputs), **kwargs)
        if op is None:
            return inputs
        result = result_of(call, layer, inputs, **kwargs)
        if isinstance(op, Affine):
            op = _with_axis(op, layer, shape_of(result))
        if isinstance(op, Norm):
            op = msgspec.structs.replace(op, zero_gamma=recorder.zero_gamma.get(id(layer), 0.0))
        if reads := recorder.read(inputs):  # else a constant is mapped to a constant
            recorder.emit(op, reads, result)
        act = getattr(layer, "activation", None)
        return act(result) if act is not None and isinstance(op, Affine) else result

    return leaf


def bound(leaf: Leaf) -> Leaf:
    """With `training` and `mask` by name, however they were passed on."""

    def call(
        recorder: Recorder, original: Any, layer: Any, inputs: Any, *args: Any, **kwargs: Any
    ) -> Any:
        words = dict(zip(_parameters(original), args, strict=False)) | kwargs
        return leaf(recorder, original, layer, inputs, **words)

    return call


def _parameters(original: Any) -> tuple[str, ...]:
    code = original.func.__code__
    return code.co_varnames[2 : code.co_argcount]


# Linear maps


def convolution(layer: Any, shape: tuple[int, ...], **_: Any) -> Affine:
    del shape
    return Affine("conv", bias=_size(layer.bias) if layer.use_bias else 0)


def dense(layer: Any, shape: tuple[int, ...], **_: Any) -> Affine:
    del shape
    bias = getattr(layer, "bias", None)
    return Affine("linear", bias=_size(bias) if bias is not None else 0)


def _with_axis(op: Affine, layer: Any, result: tuple[int, ...]) -> Affine:
    last = getattr(layer, "data_format", "channels_last") == "channels_last"
    return Affine(op.kind, op.bias, len(result) - 1 if last or op.kind == "linear" else 1)


def _size(variable: Any) -> int:
    return math.prod(variable.shape)


# Norms


def batch_norm(layer: Any, shape: tuple[int, ...], *, training: Any = None, **_: Any) -> Norm:
    axis = layer.axis % len(shape)
    batch = bool(training) and layer.trainable
    return Norm(
        "batch",
        channels=shape[axis],
        eps=float(layer.epsilon),
        momentum=round(1 - float(layer.momentum), 12),
        axis=axis,
        batch_stats=batch,
        affine=bool(layer.scale or layer.center),
        values=math.prod(shape) // max(shape[axis], 1) if batch else None,
    )


def layer_norm(layer: Any, shape: tuple[int, ...], **_: Any) -> Norm:
    axes = [a % len(shape) for a in np.atleast_1d(layer.axis).tolist()]
    over = math.prod(shape[a] for a in axes)
    gamma = getattr(layer, "gamma", getattr(layer, "scale", None))
    plain = isinstance(layer, layers.LayerNormalization) and not getattr(
        layer, "rms_scaling", False
    )
    return _stateless("layer" if plain else "rms", layer, over, None, min(axes), over, gamma)


def group_norm(layer: Any, shape: tuple[int, ...], **_: Any) -> Norm:
    axis = layer.axis % len(shape)
    groups = shape[axis] if layer.groups == -1 else int(layer.groups)
    values = math.prod(shape[1:]) // max(groups, 1)
    return _stateless("group", layer, shape[axis], groups, axis, values, layer.gamma)


def _stateless(
    kind: Any, layer: Any, channels: int, groups: int | None, axis: int, values: int, gamma: Any
) -> Norm:
    scaled = isinstance(gamma, keras.Variable)
    return Norm(
        kind,
        channels=channels,
        groups=groups,
        eps=float(layer.epsilon),
        momentum=None,
        axis=axis,
        tracks=False,
        affine=scaled or getattr(layer, "beta", None) is not None,
        values=values,
    )


# Noise, pools and others


def dropout(layer: Any, shape: tuple[int, ...], *, training: Any = None, **_: Any) -> Dropout:
    del shape
    return Dropout(float(layer.rate), active=bool(training) and layer.rate > 0)


def noise(layer: Any, shape: tuple[int, ...], *, training: Any = None, **_: Any) -> Opaque | None:
    del shape
    return Opaque("gaussian_noise") if training and layer.stddev > 0 else None


def up_sampling(layer: Any, shape: tuple[int, ...], **_: Any) -> Pool:
    """Every new value is an average of old ones of its channel, with weights that sum to one."""
    del layer, shape
    return Pool("avg")


def rescaled(recorder: Recorder, call: Any, layer: Any, inputs: Any, **kwargs: Any) -> Any:
    """Constants multiplied and added: of images, or of the whole training set. No norm: nothing is taken from the batch."""
    del layer
    result: Any = backend.compute_output_spec(call, inputs, **kwargs)
    scaled = KerasTensor(result.shape, result.dtype)
    recorder.emit(Multiply(constant=True), recorder.read(inputs), scaled)
    recorder.emit(Shift(), recorder.read(scaled), result)
    return result


def wrapped(
    recorder: Recorder, call: Any, layer: Any, inputs: Any, *args: Any, **kwargs: Any
) -> Any:
    """Spectral normalization divides the weights of the layer inside, not its input."""
    del recorder, call, args, kwargs
    return layer.layer(inputs)


def opaque(recorder: Recorder, call: Any, layer: Any, *args: Any, **kwargs: Any) -> Any:
    """A layer whose inside is not followed."""
    result = backend.compute_output_spec(call, *args, **kwargs)
    recorder.ran.update(id(inner) for _, inner in paths_in(layer))
    recorder.emit(Opaque(type(layer).__name__), recorder.read((args, kwargs)), result)
    return result


def _leaves() -> dict[type[Any], Leaf]:
    table: dict[type[Any], Leaf] = {
        BaseConv: one(convolution),
        BaseConvTranspose: one(convolution),
        BaseDepthwiseConv: one(convolution),
        BaseSeparableConv: one(convolution),
        layers.Dense: one(dense),
        layers.EinsumDense: one(dense),
        layers.BatchNormalization: one(batch_norm),
        layers.LayerNormalization: one(layer_norm),
        layers.GroupNormalization: one(group_norm),
        layers.Dropout: one(dropout),
        BaseSpatialDropout: one(dropout),
        layers.AlphaDropout: one(dropout),
        layers.GaussianDropout: one(dropout),
        layers.GaussianNoise: one(noise),
        layers.UpSampling1D: one(up_sampling),
        layers.UpSampling2D: one(up_sampling),
        layers.UpSampling3D: one(up_sampling),
    }
    if hasattr(layers, "RMSNormalization"):  # since Keras 3.9
        table[layers.RMSNormalization] = one(layer_norm)
    table = {cls: bound(leaf) for cls, leaf in table.items()}
    table[layers.Rescaling] = table[layers.Normalization] = rescaled
    table[layers.SpectralNormalization] = wrapped
    table[layers.TimeDistributed] = time_distributed
    table[layers.RNN] = partial(recurrent, opaque)
    # `call` is exchanged where it is defined: what inherits it, and what calls it by `super()`, comes by there.
    return {cls: leaf for cls, leaf in table.items() if "call" in vars(cls)} | {
        sub: leaf
        for cls, leaf in table.items()
        for sub in _overriding(cls)
        if sub.__module__.startswith("keras.src.layers.") and cls is not layers.RNN
    }


def _overriding(cls: type[Any]) -> list[type[Any]]:
    below = [s for c in cls.__subclasses__() for s in (c, *_overriding(c))]
    return [s for s in below if "call" in vars(s)]


LEAVES: dict[type[Any], Leaf] = _leaves()
