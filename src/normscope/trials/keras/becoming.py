# pyright: basic
"""What a batch norm layer of Keras computes under each arm that changes it."""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import keras

from normscope.errors import NormscopeError
from normscope.repairs.conversion.groups import LEAST, groups_for
from normscope.trials.keras.norms import Instead, Original
from normscope.trials.outcome import give_up

ops: Any = keras.ops


def another_norm(kind: str, groups: int) -> Instead:
    """Group, layer or instance norm with the layer's own γ and β; `groups` 0: as many as are usual."""
    made: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()

    def call(original: Original, layer: Any, inputs: Any, training: Any, mask: Any) -> Any:
        del original, training, mask
        x = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        if layer not in made:
            made[layer] = _counterpart(layer, tuple(x.shape), kind, groups)
        y = made[layer].call(x)
        along = [1] * len(x.shape)
        along[layer.axis] = -1
        if layer.scale:
            y = y * ops.reshape(ops.cast(layer.gamma, y.dtype), along)
        if layer.center:
            y = y + ops.reshape(ops.cast(layer.beta, y.dtype), along)
        return ops.cast(y, layer.compute_dtype)

    return call


def other_momentum(momentum: float) -> Instead:
    """In Keras' sense: the weight of the old average. Set once, before a layer's first use, so that what the script sets later holds."""
    done: weakref.WeakSet[Any] = weakref.WeakSet()

    def call(original: Original, layer: Any, inputs: Any, training: Any, mask: Any) -> Any:
        if layer not in done:
            done.add(layer)
            layer.momentum = momentum
        return original(layer, inputs, training=training, mask=mask)

    return call


def ghosts(samples: int) -> Instead:
    """Each of k = N // samples parts of the batch with its own statistics; moving ones go once a batch towards the mean of theirs.

    As `normscope.nn.GhostBatchNorm` does it (Hoffer et al. 2017, https://arxiv.org/abs/1705.08741, section 4).
    """

    def call(original: Original, layer: Any, inputs: Any, training: Any, mask: Any) -> Any:
        count = (inputs.shape[0] or 0) // samples
        if not (training and layer.trainable) or count < 2:
            return original(layer, inputs, training=training, mask=mask)
        statistics = layer.moving_mean, layer.moving_variance
        before = [ops.copy(ops.convert_to_tensor(v)) for v in statistics]
        moved: list[list[Any]] = []
        outputs: list[Any] = []
        ends = [i * inputs.shape[0] // count for i in range(count + 1)]
        for start, stop in pairwise(ends):
            for variable, value in zip(statistics, before, strict=True):
                variable.assign(value)
            part = None if mask is None else mask[start:stop]
            outputs.append(original(layer, inputs[start:stop], training=True, mask=part))
            moved.append([ops.copy(ops.convert_to_tensor(v)) for v in statistics])
        for variable, values in zip(statistics, zip(*moved, strict=True), strict=True):
            variable.assign(sum(values[1:], start=values[0]) / count)
        return ops.concatenate(outputs, axis=0)

    return call


def first_batch_map() -> Instead:
    """Fixed maps that give the first training batch mean 0 and variance 1, and nothing is normalized from then on.

    The data-dependent initialization of Salimans & Kingma 2016 (https://arxiv.org/abs/1602.07868, section 3).
    """
    settled: weakref.WeakSet[Any] = weakref.WeakSet()

    def call(original: Original, layer: Any, inputs: Any, training: Any, mask: Any) -> Any:
        # A frozen layer is a fixed map already.
        if training and layer.trainable and layer not in settled and not _symbolic(inputs):
            settled.add(layer)
            momentum, layer.momentum = layer.momentum, 0.0  # the batch's own statistics, whole
            try:
                original(layer, inputs, training=True, mask=mask)
            finally:
                layer.momentum = momentum
            # A channel that is constant in one batch is not blown up by what it does in the next.
            var = ops.convert_to_tensor(layer.moving_variance)
            layer.moving_variance.assign(ops.where(var > 1e-8, var, ops.ones_like(var)))
        return original(layer, inputs, training=False, mask=mask)

    return call


class FrozenTail:
    """Batch norm with its statistics as they are from `freeze` on; γ and β learn on."""

    def __init__(self) -> None:
        self.frozen = False

    def freeze(self) -> None:
        self.frozen = True

    def __call__(
        self, original: Original, layer: Any, inputs: Any, training: Any, mask: Any
    ) -> Any:
        return original(layer, inputs, training=training and not self.frozen, mask=mask)


def _counterpart(layer: Any, shape: Sequence[int | None], kind: str, groups: int) -> Any:
    """A layer without scale and shift, built for inputs of that shape."""
    words: dict[str, Any] = {"axis": layer.axis, "epsilon": layer.epsilon, "dtype": "float32"}
    words |= {"center": False, "scale": False}
    channels = int(shape[layer.axis] or 0)
    sizes = [n for i, n in enumerate(shape) if i not in (0, layer.axis % len(shape))]
    positions = LEAST if None in sizes else math.prod(n or 1 for n in sizes)
    if kind == "layer":
        if channels < LEAST:
            give_up(
                f"a position has {channels} channels somewhere: normalized among themselves they would be erased"
            )
        return _built(keras.layers.LayerNormalization(**words), shape)
    if kind == "instance":
        if positions < LEAST:
            give_up(
                f"a channel of one sample has {positions} value{'s' if positions > 1 else ''} somewhere: "
                "normalized among themselves they would be erased"
            )
        return _built(keras.layers.GroupNormalization(groups=channels, **words), shape)
    try:
        fit = groups_for(channels, positions, groups or None)
    except NormscopeError as reason:
        give_up(str(reason))
    return _built(keras.layers.GroupNormalization(groups=fit, **words), shape)


def _built(layer: Any, shape: Sequence[int | None]) -> Any:
    layer.build(tuple(shape))
    return layer


def _symbolic(inputs: Any) -> bool:
    """PyTorch's backend finds shapes out on a device that holds no values."""
    return isinstance(inputs, keras.KerasTensor) or str(getattr(inputs, "device", "")) == "meta"
