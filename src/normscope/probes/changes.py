# pyright: basic
"""The same samples judged twice: the difference of the means, with its noise and its interval."""

from __future__ import annotations

import math

import torch

from normscope.probes.answers import Change, Estimate
from normscope.probes.comparison import CLUSTERS, Column, mean, standard_error
from normscope.probes.intervals import resampled


def changed(before: Column, after: Column, shared: float = 0.0) -> Change:
    """From `before` to `after`, columns of the same samples in the same batches.

    `shared` is a deviation that all samples have in common (that of the statistics they were judged under), which resampling them cannot show: it is
    added to the noise, and widens the interval by as many deviations as it has.
    """
    rise = [q - p for p, q in zip(before, after, strict=True)]
    noise = math.hypot(standard_error(rise), shared)
    # Batches are the units: their samples share statistics. Few batches: samples.
    units = (
        torch.stack([torch.stack([r.sum(), torch.tensor(float(len(r))).double()]) for r in rise])
        if len(rise) >= 2 * CLUSTERS
        else torch.stack([torch.cat(rise), torch.ones_like(torch.cat(rise))], 1)
    )
    found = resampled(units, lambda m: m[:, 0] / m[:, 1])
    low, high = found.low, found.high
    if low is not None and high is not None:
        below, above = found.value - low, high - found.value
        low = found.value - math.hypot(below, 1.96 * shared)
        high = found.value + math.hypot(above, 1.96 * shared)
    return Change(mean(before), mean(after), Estimate(found.value, noise, low, high))
