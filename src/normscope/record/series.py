"""What two readings of running statistics tell: the batch statistics that lay between them.

`new = (1−α)·old + α·batch`, so one update between two readings is undone in O(channels), without a pass over
activations. The result is off by at most ulp(max(|old|, |new|))/α; where that exceeds a tenth of what it is compared
with, it is missing (NaN), not a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from normscope.record.recording import SERIES, Event, Layer

TOLERANCE = 0.1
ROWS = {name: k for k, name in enumerate(SERIES)}


class Recorded(Protocol):
    """A layer as an observer holds it: all that is asked of it here is its record."""

    @property
    def record(self) -> Layer: ...


@dataclass(slots=True)
class Reading:
    """All running statistics at one step, flat over layers and channels, on the host, float64."""

    step: int
    layers: Sequence[Recorded]
    starts: NDArray[np.intp]  # where each layer's channels begin
    mean: NDArray[np.float64]
    var: NDArray[np.float64]
    updates: list[int]
    alpha: list[float]  # weight of the latest batch; NaN when it is not constant
    ulp: list[float]  # of the buffers' dtype, relative


def series(new: Reading, old: Reading | None) -> NDArray[np.float32]:
    """The numbers of `SERIES` for every layer of `new`: shape (len(SERIES), layers)."""
    table = np.full((len(SERIES), len(new.layers)), np.nan, dtype=np.float32)
    table[ROWS["running_var_min"]] = np.minimum.reduceat(new.var, new.starts)
    table[ROWS["running_var_max"]] = np.maximum.reduceat(new.var, new.starts)
    if (
        old is None
        or [id(x) for x in old.layers] != [id(x) for x in new.layers]
        or len(old.mean) != len(new.mean)
    ):
        return table
    sizes = np.diff([*new.starts, len(new.mean)])
    once = np.array([b - a == 1 for a, b in zip(old.updates, new.updates, strict=True)])
    alpha = np.where(once, np.array(new.alpha), np.nan)
    alpha[alpha == 0] = np.nan
    if np.isnan(alpha).all():
        return table
    a = np.repeat(alpha, sizes)
    ulp = np.repeat(np.array(new.ulp) / alpha, sizes)  # of the batch statistic that is undone
    eps = np.repeat(np.array([x.record.eps for x in new.layers]), sizes)
    with np.errstate(all="ignore"):
        sd2 = old.var + eps
        # (batch − old) = (new − old)/α: the batch mean itself is never needed.
        z2 = ((new.mean - old.mean) / a) ** 2 / sd2
        batch_var = np.maximum(old.var + (new.var - old.var) / a, 0.0)
        above = batch_var + eps
        mean_error = ulp * np.maximum(np.abs(old.mean), np.abs(new.mean))
        var_error = ulp * np.maximum(np.abs(old.var), np.abs(new.var))
        mean_known = mean_error**2 <= TOLERANCE**2 * sd2
        var_known = var_error <= TOLERANCE * above
        log2 = np.log(above / sd2) ** 2
        table[ROWS["mean_noise"]] = np.sqrt(_mean(z2, mean_known, new.starts))
        table[ROWS["var_noise"]] = np.sqrt(_mean(log2, var_known, new.starts))
        # A variance that cannot be told from zero has collapsed for certain only when its error is below eps.
        certain = var_known | (var_error <= eps)
        table[ROWS["collapsed"]] = _mean(batch_var < eps, certain, new.starts)
        table[ROWS["batch_var_min"]] = np.fmin.reduceat(
            np.where(certain, batch_var, np.nan), new.starts
        )
        known = mean_known & var_known & ~np.isnan(a)
        table[ROWS["recovered"]] = np.add.reduceat(known, new.starts, dtype=np.intp) / sizes
    return table


def _mean(
    values: NDArray[Any], known: NDArray[np.bool_], starts: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Mean over each layer's channels, of those that are known and finite; NaN where there is none."""
    known = known & np.isfinite(values)
    sums = np.add.reduceat(np.where(known, values, 0.0), starts)
    return sums / np.add.reduceat(known, starts, dtype=np.intp)


def nonfinite(new: Reading, since: int | None) -> list[Event]:
    """One event for each layer with a running statistic that is not a finite number."""
    found: list[Event] = []
    if np.isfinite(new.mean).all() and np.isfinite(new.var).all():
        return found
    ends = [*new.starts[1:], len(new.mean)]
    for layer, start, end in zip(new.layers, new.starts, ends, strict=True):
        for buffer, values in (("running_mean", new.mean), ("running_var", new.var)):
            bad = np.flatnonzero(~np.isfinite(values[start:end]))
            if len(bad):
                found.append(
                    Event(
                        kind="nonfinite",
                        step=new.step,
                        since_step=since,
                        layer=layer.record.id,
                        model=layer.record.model,
                        detail=f"{buffer}[{bad[0]}] is {values[start + bad[0]]} ({len(bad)} of {end - start} channels)",
                        site=layer.record.site,
                    )
                )
                break
    return found
