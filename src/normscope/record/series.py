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


Pair = tuple[Reading | None, Reading]  # a reading, and the one before it


def tables(pairs: Sequence[Pair]) -> list[NDArray[np.float32]]:
    """The numbers of `SERIES` for every layer of each pair's second reading: shapes (len(SERIES), layers).

    All pairs are computed at once: for most networks the calls take longer than the numbers.
    """
    new = [after for _, after in pairs]
    ends: list[int] = np.cumsum([len(r.layers) for r in new]).tolist()
    table = np.full((len(SERIES), ends[-1]), np.nan, dtype=np.float32)
    var, starts = _flat([r.var for r in new]), _starts(new)
    table[ROWS["running_var_min"]] = np.minimum.reduceat(var, starts)
    table[ROWS["running_var_max"]] = np.maximum.reduceat(var, starts)
    told: list[tuple[Reading, Reading, NDArray[np.float64]]] = []
    columns: list[NDArray[np.intp]] = []
    for (before, after), end in zip(pairs, ends, strict=True):
        weights = _weights(before, after)
        if before is not None and not np.isnan(weights).all():
            told.append((before, after, weights))
            columns.append(np.arange(end - len(weights), end))
    if told:
        where = np.concatenate(columns)
        for name, values in _batches_between(told).items():
            table[ROWS[name], where] = values
    return np.split(table, ends[:-1], axis=1)


def _weights(old: Reading | None, new: Reading) -> NDArray[np.float64]:
    """α of each layer that was updated once between the readings; NaN for the others."""
    alpha = np.array(new.alpha)
    if old is None or len(old.mean) != len(new.mean) or _ids(old) != _ids(new):
        alpha[:] = np.nan
        return alpha
    once = np.array([b - a == 1 for a, b in zip(old.updates, new.updates, strict=True)])
    alpha[~once | (alpha == 0)] = np.nan
    return alpha


def _batches_between(
    told: Sequence[tuple[Reading, Reading, NDArray[np.float64]]],
) -> dict[str, NDArray[Any]]:
    """What the batches between readings were, flat over pairs and layers. Each comes with the weights that the batch got."""
    new, alpha = [after for _, after, _ in told], np.concatenate([w for *_, w in told])
    old_mean, old_var = _flat([o.mean for o, *_ in told]), _flat([o.var for o, *_ in told])
    new_mean, new_var = _flat([r.mean for r in new]), _flat([r.var for r in new])
    starts = _starts(new)
    sizes = np.diff([*starts, len(new_mean)])
    a = np.repeat(alpha, sizes)
    # Of the batch statistic that is undone.
    ulp = np.repeat(np.concatenate([r.ulp for r in new]) / alpha, sizes)
    eps = np.repeat(np.array([x.record.eps for r in new for x in r.layers]), sizes)
    with np.errstate(all="ignore"):
        sd2 = old_var + eps
        # (batch − old) = (new − old)/α: the batch mean itself is never needed.
        z2 = ((new_mean - old_mean) / a) ** 2 / sd2
        batch_var = np.maximum(old_var + (new_var - old_var) / a, 0.0)
        above = batch_var + eps
        mean_error = ulp * np.maximum(np.abs(old_mean), np.abs(new_mean))
        var_error = ulp * np.maximum(np.abs(old_var), np.abs(new_var))
        mean_known = mean_error**2 <= TOLERANCE**2 * sd2
        var_known = var_error <= TOLERANCE * above
        log2 = np.log(above / sd2) ** 2
        # A variance that cannot be told from zero has collapsed for certain only when its error is below eps.
        certain = var_known | (var_error <= eps)
        known = mean_known & var_known & ~np.isnan(a)
        return {
            "mean_noise": np.sqrt(_mean(z2, mean_known, starts)),
            "var_noise": np.sqrt(_mean(log2, var_known, starts)),
            "collapsed": _mean(batch_var < eps, certain, starts),
            "batch_var_min": np.fmin.reduceat(np.where(certain, batch_var, np.nan), starts),
            "recovered": np.add.reduceat(known, starts, dtype=np.intp) / sizes,
        }


def _flat(parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _starts(readings: Sequence[Reading]) -> NDArray[np.intp]:
    """Where each layer's channels begin in all readings, one behind the other."""
    before = np.cumsum([0, *(len(r.mean) for r in readings)])
    return np.concatenate([r.starts + n for r, n in zip(readings, before, strict=False)])


def _ids(reading: Reading) -> list[int]:
    return [id(layer) for layer in reading.layers]


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
