"""What the probe of batch sizes found: plain values that the store keeps and rules read. Imports no framework.

g(b) is the gradient of the loss averaged over the same samples cut into batches of b, and M the largest batch. *Relative
bias* is |g(b) − g(M)| / |g(M)| without what the choice of batch mates adds by chance; *cosine* is that of the angle between them.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class Interval(msgspec.Struct, frozen=True):
    """A number between the ends of its 95 % interval."""

    value: float
    low: float
    high: float


class LayerBias(msgspec.Struct, frozen=True):
    """One layer with parameters. `depth` is its place in the order of calls: 0 for the first, 1 for the last.

    `bias` and `cosine` are for each size in the order of `BatchSize.sizes`.
    """

    path: str
    depth: float
    bias: tuple[Interval, ...]
    cosine: tuple[Interval, ...]


class SizeBias(msgspec.Struct, frozen=True):
    """One batch size: all parameters together, and how the layers' relative bias goes with depth.

    `rank` is Spearman's correlation of bias and depth, `slope` the rise of bias from the first layer to the last (least
    squares); None below four layers. `noise` is the variance of the gradient that the choice of batch mates adds, as a multiple of the
    variance that the choice of samples gives it anyway.
    """

    size: int
    bias: Interval
    cosine: Interval
    noise: float
    rank: Interval | None = None
    slope: Interval | None = None


class Replaced(msgspec.Struct, frozen=True):
    """The same network with norms that do not depend on the batch: relative bias by size, 0 up to rounding if the method is right.

    `refused` says why there is none.
    """

    norm: str
    bias: tuple[float, ...] = ()
    refused: str = ""


class BatchSize(msgspec.Struct, frozen=True, kw_only=True):
    """One model with fixed weights, dropout off, batch norms with the statistics of each batch.

    `sets` disjoint sets of `largest` samples were each cut `cuts` times at random into batches of each size. `safe` is the smallest
    size from which on the upper end of the total bias stays below `threshold`; None: not even the largest that was asked.
    """

    model: int
    name: str
    samples: int
    largest: int
    sets: int
    cuts: int
    threshold: float
    sizes: tuple[SizeBias, ...]
    layers: tuple[LayerBias, ...]
    safe: int | None = None
    skipped: tuple[int, ...] = ()  # sizes for which there was no time
    replaced: tuple[Replaced, ...] = ()


def smallest_safe(sizes: Sequence[SizeBias], threshold: float) -> int | None:
    """The smallest size from which on every size's upper end is below the threshold."""
    safe = None
    for entry in sorted(sizes, key=lambda s: -s.size):
        if not entry.bias.high < threshold:
            break
        safe = entry.size
    return safe
