# pyright: basic
"""The difference that a repair of a Keras model made, measured on one batch."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from normscope.errors import NormscopeError
from normscope.probes.keras.asking import respond, untouched
from normscope.record.keras.backends import current, tensors_of
from normscope.record.keras.batches import Kept
from normscope.record.keras.norms import norms_in
from normscope.repairs.certificate import Difference

# Standard deviations of the output: float32 rounds a hundred layers to about 1e-4, a wrong exchange is far above.
ROUNDING = 1e-2


def differences(before: Any, after: Any, batch: Kept | None) -> tuple[Difference, ...]:
    """In inference, and with batch statistics and dropout off; none without a batch."""
    if batch is None:
        return ()
    one, two = (
        [_output(model, batch, training) for training in (False, True)] for model in (before, after)
    )
    return (
        Difference(mode="eval", distance=distance(one[0], two[0]), samples=batch.samples),
        Difference(mode="train", distance=distance(one[1], two[1]), samples=batch.samples),
    )


def checked(apart: tuple[Difference, ...], *modes: str) -> None:
    """Raises NormscopeError where an exact repair changed what the model computes."""
    for d in apart:
        if d.mode in modes and d.distance is not None and d.distance > ROUNDING:
            raise NormscopeError(
                f"The repair would have moved outputs by {d.distance:.2g} standard deviations in {d.mode} mode, but expected rounding. "
                "The model is left as it was; it does more with these layers than they show."
            )


def distance(before: Any, after: Any) -> float | None:
    """rms, in standard deviations of the output after; None where there is none to compare."""
    if before is None or after is None or before.shape != after.shape:
        return None
    sd = float(after.std())
    apart = float(np.sqrt(np.mean(np.square(after - before))))
    return None if not np.isfinite(apart) or sd == 0 else apart / sd


def _output(model: Any, batch: Kept, training: bool) -> Any:
    backend = current()
    norms = [
        n
        for _, n in norms_in(model)
        if training and isinstance(n, keras.layers.BatchNormalization) and n.trainable
    ]
    with untouched(model, backend):
        first = next(tensors_of(respond(model, batch, norms)), None)
        if first is None:
            return None
        values = backend.host(first)
    return values.astype(np.float64) if np.issubdtype(values.dtype, np.floating) else None
