# pyright: basic
"""Running statistics against those of other data, and what re-estimating them there gains.

Statistics are estimated on one half of the data and judged on the other, both ways round. Beside them stand statistics that are recomputed in the
same way on as many training samples: what running statistics lose by being stale is no shift of the data.
Li et al., *Revisiting Batch Normalization for Practical Domain Adaptation*, 2016; Wu & Johnson 2021, section 5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.errors import NormscopeError
from normscope.probes.answers import Change
from normscope.probes.answers.domain import DomainShift, LayerShift
from normscope.probes.attribution import restore, stored
from normscope.probes.changes import changed
from normscope.probes.comparison import CLUSTERS, column, half_of, mean, noise_of_statistics
from normscope.probes.judgement import UNITS, Judged
from normscope.probes.mixing import shuffled
from normscope.probes.passes import affordable, common_size, judged, spread
from normscope.probes.population import Moments, Statistics, install, pooled, population
from normscope.probes.setup import Given
from normscope.statistics import divergence

FEWEST = 64  # samples: 32 in each half, with which Schneider et al. 2020 adapt
LEAST_SIZE = 32  # of a batch that statistics are estimated from
PASSES = 12
GROUPS, SOME = 4, 4  # groups of batches in a half; batches that each one's statistics are tried on


@dataclass(frozen=True, slots=True)
class Named:
    """The norm layers as the recording has them."""

    ids: dict[nn.Module, int]
    paths: dict[nn.Module, str]


def shift(
    model: nn.Module,
    train: Sequence[Given],
    other: Sequence[Given],
    norms: list[_BatchNorm],
    named: Named,
    name: str,
    seconds: float,
) -> DomainShift:
    """One data set. Raises NormscopeError with the reason when it is too small or there is no time for it.

    To be called inside `untouched`; running statistics are as before afterwards.
    """
    if sum(b.samples for b in other) < FEWEST:
        raise NormscopeError(
            f"it has {sum(b.samples for b in other)} samples, but at least {FEWEST} are needed"
        )
    before = stored(norms)
    size = max(LEAST_SIZE, common_size(train))
    try:
        try:
            batches, mixed = _anew(other, size), True
        except NormscopeError:  # then in the order and the batches that they came in
            batches, mixed = [*other], False
        batches = affordable(model, batches, seconds, passes=PASSES)
        beside = _as_many(train, batches, size, mixed)
        if len(batches) < 2:
            raise NormscopeError("it fills fewer than two batches")
        groups, same_groups = _groups(model, batches, norms), _groups(model, beside, norms)
        own, same = _halves(groups), _halves(same_groups)
        restore(before)
        running = judged(model, batches)
        adapted, itself = _crosswise(model, batches, own)
        recomputed, swapped = _crosswise(model, batches, same)
        here = _Noise(model, batches, groups, adapted, itself)
        there = _Noise(model, batches, same_groups, recomputed, swapped)
    finally:
        restore(before)
    layers = tuple(
        _layer(norm, before[norm], own, same, named)
        for norm in pooled(own)
        if norm in named.ids and all(norm in m for m in (*own, *same))
    )
    changes = {kind: _change(running, adapted, kind, here) for kind in ("wrong", "loss", "metric")}
    return DomainShift(
        name=name,
        samples=sum(b.samples for b in batches),
        batches=len(batches),
        unit=UNITS.get(batches[0].loss or "", "loss"),
        mixed=mixed,
        layers=layers,
        error=changes["wrong"],
        loss=changes["loss"],
        metric=changes["metric"],
        error_beside=_change(recomputed, adapted, "wrong", here, there),
        loss_beside=_change(recomputed, adapted, "loss", here, there),
    )


def _anew(batches: Sequence[Given], size: int, most: int | None = None) -> list[Given]:
    """The samples in random order in batches of `size`: sorted data would pin the statistics of deeper layers.

    A rest of less than half a batch is left out. At least two batches where there are samples for them.
    """
    samples = sum(b.samples for b in batches)
    size = min(size, samples // 2)
    sizes = [size] * (samples // size)
    if 2 * (samples % size) >= size:
        sizes.append(samples % size)
    return shuffled(batches, sizes[:most], seed=0)[0]


def _as_many(
    train: Sequence[Given], batches: Sequence[Given], size: int, mixed: bool
) -> list[Given]:
    """About as many training samples, in batches of about the same size."""
    most = max(2, len(batches))
    if mixed:
        try:
            return _anew(train, size, most)
        except NormscopeError:  # then as training composes them
            pass
    found: list[Given] = []
    for batch in train:
        if len(found) >= 2 and sum(b.samples for b in found) >= sum(b.samples for b in batches):
            break
        found.append(batch)
    return found


def _groups(
    model: nn.Module, batches: Sequence[Given], norms: list[_BatchNorm]
) -> tuple[list[Statistics], list[Statistics]]:
    """Statistics of up to four groups of batches in each half: together they are the half's, apart they show its error."""
    found: tuple[list[Statistics], list[Statistics]] = [], []
    for half, kept in enumerate(found):
        mine = [b for i, b in enumerate(batches) if half_of(i) == half]
        for group in range(min(GROUPS, len(mine))):
            kept.append(population(model, mine[group::GROUPS], norms))
    return found


def _halves(groups: tuple[list[Statistics], list[Statistics]]) -> tuple[Statistics, Statistics]:
    return pooled(groups[0]), pooled(groups[1])


def _crosswise(
    model: nn.Module, batches: Sequence[Given], halves: tuple[Statistics, Statistics]
) -> tuple[list[Judged], list[Judged]]:
    """Every batch under the statistics of the other half, and under those of its own half."""
    other: dict[int, Judged] = {}
    own: dict[int, Judged] = {}
    for half in (0, 1):
        install(halves[half])
        for i, answer in enumerate(judged(model, batches)):
            (own if half_of(i) == half else other)[i] = answer
    order = range(len(batches))
    return [other[i] for i in order], [own[i] for i in order]


class _Noise:
    """What a judgement owes to the few samples that its statistics came from: a few batches judged under those of each group.

    Statistics of all k groups together err by 1/√k of what those of single ones differ by, to first order. With fewer than four
    groups the exchange of the halves has to tell.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Sequence[Given],
        groups: tuple[list[Statistics], list[Statistics]],
        other: list[Judged],
        own: list[Judged],
    ) -> None:
        self.exchanged = other, own
        self.answers: list[list[Judged]] = []
        every = [*groups[0], *groups[1]]
        for statistics in every if len(every) >= CLUSTERS else ():
            install(statistics)
            self.answers.append(judged(model, spread(batches, SOME)))

    def of(self, kind: str) -> float:
        means = [mean(c) for a in self.answers if (c := column(a, kind))]
        if len(means) >= CLUSTERS:
            k = len(means)
            # Widened as other deviations of few values are.
            widened = math.sqrt((k - 1) / (k - 3))
            return float(torch.tensor(means).double().std()) / math.sqrt(k) * widened
        other, own = (column(x, kind) for x in self.exchanged)
        return 0.0 if not other or not own else noise_of_statistics(other, own)


def _change(before: list[Judged], after: list[Judged], kind: str, *noises: _Noise) -> Change | None:
    one, two = column(before, kind), column(after, kind)
    if not one or not two:
        return None
    return changed(one, two, math.hypot(*(n.of(kind) for n in noises)))


def _layer(
    norm: _BatchNorm,
    running: tuple[torch.Tensor, torch.Tensor],
    own: tuple[Statistics, Statistics],
    same: tuple[Statistics, Statistics],
    named: Named,
) -> LayerShift:
    whole, training = pooled(own)[norm], pooled(same)[norm]
    each = _divergence(whole, training.mean, training.var, norm.eps)
    worst = int(np.argmax(each)) if np.isfinite(each).all() else 0
    # Halves differ by 2/n + 2/n, two wholes by 1/n + 1/n.
    halves = max(_between(half, norm) for half in (own, same))
    return LayerShift(
        layer=named.ids[norm],
        path=named.paths[norm],
        divergence=float(_divergence(whole, *running, norm.eps).mean()),
        floor=float(_divergence(training, *running, norm.eps).mean()),
        apart=float(each.mean()),
        apart_floor=halves / 2,
        largest=float(each[worst]),
        channel=worst,
    )


def _between(halves: tuple[Statistics, Statistics], norm: _BatchNorm) -> float:
    """The mean of both directions: the divergence is not symmetric."""
    one, two = halves[0][norm], halves[1][norm]
    there = _divergence(one, two.mean, two.var, norm.eps)
    back = _divergence(two, one.mean, one.var, norm.eps)
    return float((there + back).mean()) / 2


def _divergence(moments: Moments, mean: torch.Tensor, var: torch.Tensor, eps: float) -> np.ndarray:
    """In nats by channel. Normalization adds eps to variances; so does this, which keeps constant channels finite."""
    rows = [moments.mean, moments.var + eps, mean.double(), var.double() + eps]
    return divergence(*(r.cpu().numpy() for r in rows))
