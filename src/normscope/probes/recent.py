# pyright: basic
"""Which kept batches the gap probe asks about: those that met one loss, of the latest stage of the training."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

import torch

from normscope.graph.torch import tensors_of
from normscope.probes.comparison import CLUSTERS, ENOUGH_SAMPLES
from normscope.record.torch.batches import Kept

STAGE = 6  # batches: fewer are no stage to judge by
FAR = 2.0  # deviations of the last stage between it and all before; a drift leaves no gap


def recent(batches: Sequence[Kept]) -> list[Kept]:
    """The batches of one kind that tell of the model as it is now."""
    return _late(_since_new_data(_last_phase(_alike(batches))))


def _alike(batches: Sequence[Kept]) -> list[Kept]:
    """The batches that met the commonest loss with a target; all where there is none for two."""
    kinds = Counter((b.loss, b.direct, b.output) for b in batches if b.target is not None)
    if kinds:
        kind, times = kinds.most_common(1)[0]
        if times >= 2:
            same = [b for b in batches if b.target is not None]
            return [b for b in same if (b.loss, b.direct, b.output) == kind]
    return list(batches)


def _last_phase(batches: list[Kept]) -> list[Kept]:
    """The batches since the shape of a sample changed last, where it changed for good: images that grow, longer crops.

    Shapes that come and go (multi-scale training, sentences) are one distribution, and all are taken.
    """
    shapes = [_shapes(b) for b in batches]
    changes = sum(a != b for a, b in itertools.pairwise(shapes))
    last = [b for b, shape in zip(batches, shapes, strict=True) if shape == shapes[-1]]
    phases = changes and changes == len(set(shapes)) - 1
    return last if phases and len(last) >= 2 else batches


def _since_new_data(batches: list[Kept]) -> list[Kept]:
    """The batches since the data changed for good, where shapes stayed: another camera, another set after pretraining.

    Told by the mean and spread of a batch's values: a stage ends where all batches before it lie on one side of all batches
    after it, far apart for how much either kind varies. Data that come and go are one distribution.
    """
    marks = [_marks(b) for b in batches]
    begin = 0
    if any(m is None for m in marks):
        return batches
    for series in zip(*(m for m in marks if m is not None), strict=True):
        values = torch.tensor(series, dtype=torch.float64)
        for k in range(STAGE, len(values) - STAGE + 1):
            if _apart(values[:k], values[k:]):
                begin = max(begin, k)
    return batches[begin:]


def _marks(batch: Kept) -> tuple[float, float] | None:
    """Mean and logarithm of the spread of the first floating-point input."""
    x = next((t for t in tensors_of((batch.args, batch.kwargs)) if t.is_floating_point()), None)
    if x is None or x.numel() < 2:
        return None
    sd, mean = torch.std_mean(x.double())
    return float(mean), float(sd.clamp_min(1e-12).log())


def _apart(before: torch.Tensor, after: torch.Tensor) -> bool:
    """Whether a gap lies between the two kinds, `FAR` deviations of the later one wide."""
    gap = max(float(after.min() - before.max()), float(before.min() - after.max()))
    return gap > FAR * float(after.std())


def _shapes(batch: Kept) -> tuple[torch.Size, ...]:
    return tuple(t.shape[1:] for t in tensors_of((batch.args, batch.kwargs)))


def _late(batches: list[Kept]) -> list[Kept]:
    """Those of the second half of the training, if they are enough to judge by.

    A model that was trained on other data first (pretraining, growing images, another camera) is asked about the data
    that it was trained on last: its running statistics are of that alone, and rightly so.
    """
    middle = (batches[0].step + batches[-1].step) / 2 if batches else 0
    late = [b for b in batches if b.step >= middle]
    enough = sum(b.samples for b in late) >= ENOUGH_SAMPLES and len(late) >= CLUSTERS
    return late if enough else batches
