# pyright: basic
"""Which Keras layers normalize, where they stand in a model, and what they say of themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import keras

from normscope.graph.model import NormKind
from normscope.record.recording import Layer

KINDS: dict[type[Any], NormKind] = {
    keras.layers.BatchNormalization: "batch",
    keras.layers.LayerNormalization: "layer",
    keras.layers.GroupNormalization: "group",
}
if hasattr(keras.layers, "RMSNormalization"):  # since Keras 3.9
    KINDS[keras.layers.RMSNormalization] = "rms"


def kind_of(layer: Any) -> NormKind | None:
    return next((kind for of, kind in KINDS.items() if isinstance(layer, of)), None)


def norms_in(layer: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every norm layer inside, once, with the names of the layers that lead to it."""
    yield from _norms_in(layer, path, set())


def _norms_in(layer: Any, path: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    if id(layer) in seen:
        return
    seen.add(id(layer))
    if kind_of(layer) is not None:
        yield path or layer.name, layer
        return
    for child in layer._layers:
        yield from _norms_in(child, f"{path}/{child.name}" if path else child.name, seen)


def parents_of(model: Any) -> dict[int, Any]:
    """By the id of each layer inside, the layer that holds it."""
    found: dict[int, Any] = {}
    todo = [model]
    while todo:
        parent = todo.pop()
        for child in parent._layers:
            if id(child) not in found:
                found[id(child)] = parent
                todo.append(child)
    return found


def affine_of(layer: Any) -> list[Any]:
    """The variables of scale and shift, the scale first, where the layer is built and has them."""
    names = (("gamma", "scale"), ("beta",))
    found = [
        next((v for n in of if hasattr(v := getattr(layer, n, None), "assign")), None)
        for of in names
    ]
    return [v for v in found if v is not None]


def scale_of(layer: Any) -> Any:
    """The variable that holds the scale, None where there is none."""
    return next(
        (v for n in ("gamma", "scale") if hasattr(v := getattr(layer, n, None), "assign")), None
    )


def statistics_of(layer: Any) -> tuple[Any, Any] | None:
    """The variables of the moving mean and variance; None where none are kept, or not built yet."""
    mean, var = getattr(layer, "moving_mean", None), getattr(layer, "moving_variance", None)
    return None if mean is None or var is None else (mean, var)


def put_statistics(layer: Any, mean: Any, var: Any) -> None:
    """Write a moving mean and variance; a layer that renormalizes starts its other averages from them.

    With `renorm=True` Keras keeps `moving_stddev`, from which it derives the moving variance at the next step, and `renorm_mean` and
    `renorm_stddev`, which correct in training. Each deviation is the root of variance and epsilon.
    """
    layer.moving_mean.assign(mean)
    layer.moving_variance.assign(var)
    if getattr(layer, "renorm", False):
        spread = (var + float(layer.epsilon)) ** 0.5
        layer.moving_stddev.assign(spread)
        layer.renorm_mean.assign(mean)
        layer.renorm_stddev.assign(spread)


def lags(layer: Any) -> bool:
    """Whether it renormalizes by averages of another momentum than that of the moving statistics, so that evaluation differs."""
    return bool(getattr(layer, "renorm", False)) and layer.renorm_momentum != layer.momentum


@contextmanager
def uncorrected(norms: Iterable[Any]) -> Iterator[None]:
    """Inside, layers that renormalize (`renorm=True`) are batch norm: averages that lag behind have no part in what is estimated."""
    renormalizing = [n for n in norms if getattr(n, "renorm", False)]
    try:
        for norm in renormalizing:
            norm.renorm = False
        yield
    finally:
        for norm in renormalizing:
            norm.renorm = True


def describe(record: Layer, layer: Any) -> None:
    """Fill in what the layer's own attributes say."""
    record.eps = float(layer.epsilon)
    kept = statistics_of(layer)
    momentum = getattr(layer, "momentum", None)
    record.momentum = None if momentum is None else alpha_of(layer)
    record.tracks = record.kind == "batch"
    record.affine = bool(affine_of(layer))
    record.synchronized = bool(getattr(layer, "synchronized", False))
    if kept is not None:
        record.channels = int(kept[0].shape[0])
        record.dtype = str(kept[0].dtype)
    elif record.affine:
        size = 1
        for n in affine_of(layer)[0].shape:
            size *= int(n)
        record.channels = size
    record.renorm = bool(getattr(layer, "renorm", False))
    clipping = getattr(layer, "renorm_clipping", None) or {}
    record.renorm_rmax = _number(clipping.get("rmax"))
    record.renorm_dmax = _number(clipping.get("dmax"))


def alpha_of(layer: Any) -> float:
    """The weight of the new batch, which is PyTorch's momentum; Keras' is the weight of what was there."""
    return round(1.0 - float(layer.momentum), 12)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
