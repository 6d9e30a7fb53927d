# pyright: basic
"""Recalibration of a Keras model: its moving statistics, recomputed from data at the weights as they are now."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from normscope.errors import NormscopeError
from normscope.graph.keras.values import read
from normscope.probes.keras.population import Moments, install
from normscope.record.keras.backends import Backend, current
from normscope.record.keras.norms import norms_in, statistics_of, uncorrected
from normscope.repairs.certificate import Certificate, Difference, LayerChange, LeftAlone

SAMPLES = 10_000
BATCH = 32  # of an array that comes whole


def recalibrate(
    model: Any,
    data: Any,
    *,
    samples: int | None = SAMPLES,
    batch_size: int = BATCH,
    progress: Callable[[int], None] | None = None,
) -> Certificate:
    """Replace the moving statistics of `model`'s batch norms by population statistics, in place.

    Mean and biased variance, which is what Keras stores, over all values of all batches, while exactly these layers
    normalize with batch statistics: dropout is off, everything else runs as in inference. Layers that renormalize start the averages
    of their corrections from the same numbers. Layers that are not trainable keep their statistics, as in training. After an error, Ctrl-C included, all variables are as before.

    Args:
        model: a Keras 3 model that has values, on any backend.
        data: training data as training has them: an array, or batches of inputs alone or as `(inputs, targets)`, as `tf.data`,
            `PyDataset` and loaders of PyTorch give them.
        samples: at most about so many, in whole batches; None: all.
        batch_size: of an array.
        progress: is told the samples of each batch that has run.

    Raises NormscopeError, the model untouched, for a model without batch norms in training, for no batches, and for batches of one
    value per channel.
    """
    chosen, left = _layers(model)
    if not chosen:
        raise NormscopeError(
            "recalibrate found no trainable BatchNormalization with values in the model. Build it, and unfreeze what is to be recomputed."
        )
    backend = current()
    before = {path: tuple(map(read, statistics_of(x) or ())) for path, x in chosen.items()}
    kept = [(v, read(v)) for v in model.non_trainable_variables]
    first: Any = None
    was: Any = None
    seen = count = 0
    try:
        with _collecting(chosen, backend) as (moments, calls):
            for batch in _batches(data, batch_size):
                if first is None:
                    first = batch
                model(batch, training=False)
                size = _size(batch)
                seen, count = seen + size, count + 1
                if progress is not None:
                    progress(size)
                if samples is not None and seen >= samples:
                    break
        if not count:
            raise NormscopeError(
                "recalibrate got no batch. Give training inputs: an array, or batches of them."
            )
        if thin := [path for path, m in moments.items() if m.count < 2 * calls[path]]:
            raise NormscopeError(
                f"recalibrate got batches with one value per channel at `{thin[0]}`. Give batches of 2 samples or more."
            )
        _restore(kept)
        was = _output(model, first, backend)
        install({id(chosen[p]): m for p, m in moments.items()}, {id(x): x for x in chosen.values()})
    except BaseException:
        _restore(kept)
        raise
    now = _output(model, first, backend)
    left += [LeftAlone(path=p, reason="no batch reached it") for p in chosen if p not in moments]
    changes = tuple(_change(p, before[p], m, calls[p]) for p, m in moments.items())
    return Certificate(
        repair="recalibrate",
        kind="changes-function",
        model=type(model).__name__,
        done=f"{len(changes)} batch norms have moving statistics of {seen} samples in {count} batches (biased variances, as Keras stores them)",
        samples=seen,
        batches=count,
        layers=changes,
        left=tuple(left),
        differences=(Difference(mode="eval", distance=_distance(was, now), samples=_size(first)),),
    )


def _layers(model: Any) -> tuple[dict[str, Any], list[LeftAlone]]:
    chosen: dict[str, Any] = {}
    left: list[LeftAlone] = []
    for path, layer in norms_in(model):
        if not isinstance(layer, keras.layers.BatchNormalization) or not layer.built:
            continue
        if layer.trainable:
            chosen[path] = layer
        else:
            left.append(LeftAlone(path=path, reason="it is not trainable"))
    return chosen, left


@contextmanager
def _collecting(
    chosen: Mapping[str, Any], backend: Backend
) -> Iterator[tuple[dict[str, Moments], dict[str, int]]]:
    """The layers normalize with batch statistics, and the moments of what comes in are added up; calls are counted."""
    moments: dict[str, Moments] = {}
    calls: dict[str, int] = {}

    def listening(path: str, layer: Any) -> Callable[..., Any]:
        original = layer.call

        def call(inputs: Any, training: Any = None, mask: Any = None) -> Any:
            del training
            covered = None if mask is None else backend.host(mask)
            here = Moments.of(backend.host(inputs), layer.axis, covered)
            moments[path] = moments[path] + here if path in moments else here
            calls[path] = calls.get(path, 0) + 1
            return original(inputs, training=True, mask=mask)

        return call

    try:
        for path, layer in chosen.items():
            vars(layer)["call"] = listening(path, layer)
        with uncorrected(chosen.values()):
            yield moments, calls
    finally:
        for layer in chosen.values():
            vars(layer).pop("call", None)


def _batches(data: Any, size: int) -> Iterator[Any]:
    """The inputs of each batch."""
    if hasattr(data, "shape") and hasattr(data, "__getitem__"):
        for start in range(0, int(data.shape[0]), size):
            yield data[start : start + size]
        return
    if (
        hasattr(data, "__getitem__")
        and hasattr(data, "__len__")
        and not isinstance(data, (list, tuple))
    ):
        data = (data[i] for i in range(len(data)))  # a PyDataset
    if not isinstance(data, Iterable):
        raise NormscopeError(
            f"recalibrate got a {type(data).__name__} for data, but expected an array, or batches of training inputs."
        )
    for batch in data:
        inputs = batch[0] if isinstance(batch, (tuple, list)) else batch
        # Tensors of one backend may come from a loader of another.
        yield keras.tree.map_structure(
            lambda t: t if keras.ops.is_tensor(t) else np.asarray(t), inputs
        )


def _size(batch: Any) -> int:
    return int(keras.tree.flatten(batch)[0].shape[0])


def _restore(kept: list[tuple[Any, Any]]) -> None:
    for variable, value in kept:
        variable.assign(value)


def _output(model: Any, batch: Any, backend: Backend) -> Any:
    first = keras.tree.flatten(model(batch, training=False))[0]
    values = backend.host(first)
    return values.astype(np.float64) if np.issubdtype(values.dtype, np.floating) else None


def _distance(before: Any, after: Any) -> float | None:
    """rms, in standard deviations of the output after."""
    if before is None or after is None:
        return None
    sd = float(after.std())
    apart = float(np.sqrt(np.mean(np.square(after - before))))
    return None if not np.isfinite(apart) or sd == 0 else apart / sd


def _change(path: str, before: tuple[Any, ...], moments: Moments, calls: int) -> LayerChange:
    mean, var = (v.astype(np.float64) for v in before)
    sd = np.sqrt(np.maximum(moments.var, 1e-30))
    known = bool(np.isfinite(mean).all() and np.isfinite(var).all())
    return LayerChange(
        path=path,
        channels=int(mean.size),
        values=moments.count,
        calls=calls,
        mean_shift=float(np.sqrt(np.mean(np.square((mean - moments.mean) / sd))))
        if known
        else None,
        log_sd=float(np.sqrt(np.mean(np.square(0.5 * np.log(np.maximum(var, 1e-30) / sd**2)))))
        if known
        else None,
    )
