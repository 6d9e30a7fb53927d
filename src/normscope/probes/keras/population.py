# pyright: basic
"""Population statistics of every batch norm's input, by the pooled estimator; the variance biased, as Keras stores it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normscope.probes.keras.asking import respond
from normscope.probes.keras.exchanging import Call, exchanged
from normscope.record.keras.backends import Backend
from normscope.record.keras.batches import Kept
from normscope.record.keras.norms import put_statistics, statistics_of, uncorrected


@dataclass(frozen=True, slots=True)
class Moments:
    """Of values per channel: how many, their mean, and the sum of squared deviations from it; float64."""

    count: int
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]

    @classmethod
    def of(cls, x: NDArray[Any], axis: int, mask: NDArray[Any] | None = None) -> Moments:
        flat = np.moveaxis(x.astype(np.float64), axis, -1)
        # A mask has one entry for each place of all channels.
        flat = flat.reshape(-1, flat.shape[-1]) if mask is None else flat[mask.astype(bool)]
        mean = flat.mean(0) if len(flat) else np.zeros(flat.shape[-1])
        return cls(len(flat), mean, np.square(flat - mean).sum(0))

    def __add__(self, other: Moments) -> Moments:
        # Chan, Golub & LeVeque 1979: sums of squares about each one's own mean lose no digits.
        count = self.count + other.count
        apart = other.mean - self.mean
        share = other.count / max(1, count)
        between = np.square(apart) * self.count * share
        return Moments(count, self.mean + apart * share, self.squares + other.squares + between)

    @property
    def var(self) -> NDArray[np.float64]:
        return self.squares / max(1, self.count)


Statistics = Mapping[int, Moments]  # by the id of the layer


def population(
    model: Any, batches: Iterable[Kept], norms: Mapping[int, Any], backend: Backend
) -> dict[int, Moments]:
    """Moments of each norm's input while all of them normalize with batch statistics alone.

    To be called inside `untouched`. A layer that no batch reaches has no entry.
    """
    number = {id(n): k for k, n in norms.items()}
    found: dict[int, Moments] = {}

    def noted(layer: Any, call: Call) -> Call:
        def inside(inputs: Any, *args: Any, **kwargs: Any) -> Any:
            mask, k = kwargs.get("mask"), number[id(layer)]
            covered = None if mask is None else backend.host(mask)
            here = Moments.of(backend.host(inputs), layer.axis, covered)
            found[k] = found[k] + here if k in found else here
            return call(inputs, *args, **kwargs)

        return inside

    with exchanged(norms.values(), noted), uncorrected(norms.values()):
        for batch in batches:
            respond(model, batch, list(norms.values()))
    return found


def pooled(parts: Iterable[Statistics]) -> dict[int, Moments]:
    """Moments of all the parts' values together."""
    found: dict[int, Moments] = {}
    for part in parts:
        for k, moments in part.items():
            found[k] = found[k] + moments if k in found else moments
    return found


def install(statistics: Statistics, norms: Mapping[int, Any]) -> None:
    """Write the statistics into the moving variables of their layers."""
    for k, moments in statistics.items():
        if statistics_of(norms[k]) is not None:
            put_statistics(
                norms[k], moments.mean.astype(np.float32), moments.var.astype(np.float32)
            )
