"""What the domain probe found. Imports no framework."""

from __future__ import annotations

import msgspec

from normscope.probes.answers import Change


class LayerShift(msgspec.Struct, frozen=True, kw_only=True):
    """The statistics of other data at one batch norm: KL divergences in nats per channel, eps added to variances.

    `divergence` is that from the running statistics, its mean over channels; `floor` is what as many training samples show: staleness and
    sampling are in both. `apart` is that from statistics recomputed on those training samples, where only sampling
    is left: `apart_floor`, from the divergence of two halves. `largest` is that of the channel that is farthest `apart`.
    """

    layer: int
    path: str
    divergence: float
    floor: float
    apart: float
    apart_floor: float
    largest: float
    channel: int


class DomainShift(msgspec.Struct, frozen=True, kw_only=True):
    """One data set under running statistics and under statistics re-estimated on its other half.

    In `error`, `loss` and `metric`, `before` is with running statistics and `after` with re-estimated ones. In `error_beside` and
    `loss_beside`, `before` is with statistics recomputed on as many training samples: what stale statistics cost is not in it.
    """

    name: str
    samples: int
    batches: int
    unit: str  # of the loss
    mixed: bool  # whether samples were shuffled over batches, so that the order of the data plays no part
    layers: tuple[LayerShift, ...] = ()
    error: Change | None = None
    error_beside: Change | None = None
    loss: Change | None = None
    loss_beside: Change | None = None
    metric: Change | None = None


class Domain(msgspec.Struct, frozen=True, kw_only=True):
    """The data sets that were asked about."""

    model: int
    name: str
    shifts: tuple[DomainShift, ...]
    missed: tuple[str, ...] = ()  # data sets that could not be asked about, each with the reason
