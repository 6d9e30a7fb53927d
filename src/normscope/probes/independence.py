# pyright: basic
"""Whether the samples of a batch are independent draws: a permutation test on per-sample channel means.

One-way analysis of variance over batches. At fixed weights, in evaluation mode, any function of a sample alone is exchangeable between
batches if the samples are, so that shuffling samples over batches gives the test its level whatever the data, and at any depth of the
network (Good, *Permutation, Parametric, and Bootstrap Tests of Hypotheses*, 2005, chapter 3).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from normscope.probes.observations import Independence, Place

SHUFFLES = 199  # the smallest p-value is 1/200
LEAST_BATCHES = 6  # in each half of the run
# What the test takes part in, evenly chosen: places, channels of a place, samples of a half and of a batch.
PLACES, CHANNELS, SAMPLES, ROWS = 8, 32, 1024, 512


@dataclass(frozen=True, slots=True)
class Sampled:
    """Per-sample channel means of one batch by place, each (samples, channels); classes and targets where they are known."""

    means: Mapping[str, torch.Tensor]
    classes: torch.Tensor | None = None  # (samples,), whole numbers
    targets: torch.Tensor | None = None  # (samples, numbers), of any kind


def independence(batches: Sequence[Sampled], *, model: int, name: str) -> Independence | None:
    """The test and the correlations; None with fewer than six batches of one size in either half of the run."""
    alike = _alike(batches)
    middle = len(alike) // 2
    if middle < LEAST_BATCHES:
        return None
    size = len(next(iter(alike[0].means.values())))
    parts = [_thinned(part) for part in (alike[:middle], alike[middle:])]
    halves = [_half(part) for part in parts]
    shared = [p for p in halves[0].correlations if p in halves[1].correlations]
    places: list[Place] = []
    for path in shared:
        rho = min(half.correlations[path] for half in halves)
        places.append(Place(path, rho, size / max(1 + (size - 1) * rho, 1 / size)))
    return Independence(
        model=model,
        name=name,
        batches=len(alike),
        samples=len(alike) * size,
        batch=size,
        p=max(half.p for half in halves),
        places=tuple(places),
        group=_group([b for part in parts for b in part], places) if size <= ROWS else None,
        targets=_of_targets(alike),
    )


def _alike(batches: Sequence[Sampled]) -> list[Sampled]:
    """The batches of the commonest size, without places that not all of them have.

    None when other sizes are common too: dimension 0 may then count nodes or tokens.
    """
    sizes = Counter(len(next(iter(b.means.values()))) for b in batches if b.means)
    if not sizes:
        return []
    size, times = sizes.most_common(1)[0]
    if size < 4 or times < 0.8 * len(batches):
        return []
    alike = [b for b in batches if b.means and len(next(iter(b.means.values()))) == size]
    paths = [
        p for p, m in alike[0].means.items() if all(_shape(b, p) == tuple(m.shape) for b in alike)
    ]
    return [replace(b, means={p: b.means[p] for p in paths}) for b in alike] if paths else []


def _shape(batch: Sampled, path: str) -> tuple[int, ...] | None:
    means = batch.means.get(path)
    return None if means is None else tuple(means.shape)


@dataclass(frozen=True, slots=True)
class _Half:
    p: float
    correlations: dict[str, float]


def _thinned(batches: list[Sampled]) -> list[Sampled]:
    """Not more places, samples and batches than the test has time for."""
    every = [*batches[0].means]
    kept = [every[k] for k in _spread(len(every), PLACES)]
    size = min(ROWS, len(batches[0].means[every[0]]))
    rows = _spread(len(batches[0].means[every[0]]), ROWS)
    chosen = _spread(len(batches), max(LEAST_BATCHES, SAMPLES // size))
    return [replace(batches[i], means={p: batches[i].means[p][rows] for p in kept}) for i in chosen]


def _spread(count: int, most: int) -> list[int]:
    """At most `most` of the first `count` numbers, evenly, with the first and the last."""
    if count <= most:
        return [*range(count)]
    return [round(i * (count - 1) / (most - 1)) for i in range(most)]


def _half(batches: list[Sampled]) -> _Half:
    """The test over all places at once, by the largest standardized excess (Westfall & Young's max-T)."""
    count, size = len(batches), len(next(iter(batches[0].means.values())))
    means = _batch_means(count, size)
    excess: list[torch.Tensor] = []
    correlations: dict[str, float] = {}
    for path in batches[0].means:
        z = _standardized(torch.cat([b.means[path] for b in batches]))
        if z is None:
            continue
        between = (means @ z).view(SHUFFLES + 1, -1).square().sum(1)
        spread = between.std()
        if spread > 0:
            excess.append((between - between.mean()) / spread)
        correlations[path] = _correlation(z, float(between[0]), count, size)
    if not excess:
        return _Half(1.0, correlations)
    largest = torch.stack(excess).amax(0)
    return _Half(float((largest >= largest[0]).double().mean()), correlations)


def _batch_means(count: int, size: int) -> torch.Tensor:
    """The linear map from samples to batch means without trend, for the order as it is and for shuffled ones.

    Shape ((1 + shuffles) · batches, samples). The generator is its own, so that answers can be repeated.
    """
    g = torch.Generator().manual_seed(count * size)
    residual = _without_trend(count) / size
    maps = [residual[:, torch.arange(count * size) // size]]
    maps += [maps[0][:, torch.randperm(count * size, generator=g)] for _ in range(SHUFFLES)]
    return torch.cat(maps)


def _without_trend(count: int) -> torch.Tensor:
    """The projection of `count` batch means onto what a straight line leaves: data that drift are no fault of the batches."""
    t = torch.linspace(-1, 1, count)
    line, _ = torch.linalg.qr(torch.stack([torch.ones(count), t], 1))
    return torch.eye(count) - line @ line.T


def _standardized(x: torch.Tensor) -> torch.Tensor | None:
    """Channels that vary, each with mean 0 and variance 1; at most `CHANNELS`."""
    x = x.double()
    sd = x.std(0)
    varies = sd > 1e-9 * x.abs().amax(0).clamp_min(1e-30)
    x, sd = x[:, varies], sd[varies]
    if not x.shape[1] or not bool(x.isfinite().all()):
        return None
    if x.shape[1] > CHANNELS:
        chosen = _spread(x.shape[1], CHANNELS)
        x, sd = x[:, chosen], sd[chosen]
    return ((x - x.mean(0)) / sd).float()


def _correlation(z: torch.Tensor, between: float, count: int, size: int) -> float:
    """Intra-batch correlation: (MSB − MSW)/(MSB + (N − 1) MSW), mean squares summed over channels."""
    grouped = z.view(count, size, -1)
    within = float((grouped - grouped.mean(1, keepdim=True)).square().sum()) / (count * (size - 1))
    msb = size * between / (count - 2)
    whole = msb + (size - 1) * within
    return (msb - within) / whole if whole > 0 else 0.0


def _of_targets(batches: list[Sampled]) -> float | None:
    """How much the targets of a batch resemble each other: sorted data do in them too, a transform of a whole batch does not."""
    known = [b.targets for b in batches if b.targets is not None]
    if len(known) < len(batches) or len({len(t) for t in known}) > 1:
        return None
    count, size = len(known), len(known[0])
    everything = torch.cat(known)
    if everything.shape[1] == 1 and not everything.is_floating_point():
        everything = torch.nn.functional.one_hot(everything[:, 0].unique(return_inverse=True)[1])
    z = _standardized(everything)
    if z is None:
        return None
    means = (_without_trend(count) @ z.view(count, size, -1).mean(1)).square().sum()
    return _correlation(z, float(means), count, size)


def _group(batches: list[Sampled], places: list[Place]) -> int | None:
    """The size of independent groups that a batch is made of, one after another or interleaved; None where there are none.

    Told by equal counts of each class in every batch, else by samples that resemble those of their own group ten times as
    much as the others of the batch: a sampler of P classes with K samples of each, clips of K frames, K views of an image.
    """
    if (each := _equal_counts(batches)) is not None:
        return each
    if not places:
        return None
    size = len(next(iter(batches[0].means.values())))
    path = max(places, key=lambda p: p.correlation).path
    z = _standardized(torch.cat([b.means[path] for b in batches]))
    if z is None:
        return None
    alike = torch.einsum("bic,bjc->ij", *(2 * [z.view(len(batches), size, -1)])) / z.numel() * size
    index = torch.arange(size)
    other = index[:, None] != index[None]
    best: tuple[float, int] | None = None
    for each in (k for k in range(2, size // 2 + 1) if size % k == 0):
        for group in (index // each, index % (size // each)):
            same = group[:, None] == group[None]
            near, far = float(alike[same & other].mean()), float(alike[~same].mean())
            if near > 0.1 and far < 0.1 * near and (best is None or near > best[0]):
                best = near, each
    return best[1] if best else None


def _equal_counts(batches: list[Sampled]) -> int | None:
    each: set[int] = set()
    for batch in batches:
        if batch.classes is None:
            return None
        counts = batch.classes.unique(return_counts=True)[1]
        each.update(counts.tolist())
        if len(counts) < 2 or len(each) > 1:
            return None
    [only] = each
    return only if only > 1 else None
