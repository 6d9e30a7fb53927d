# pyright: basic
"""Whether the network reads an answer off its batch mates: batches as the loader composes them against shuffled ones.

Weights, samples, batch sizes and batch statistics are the same; only the company differs. If the loader composes batches at random, its own
are as good as any others, and the two agree up to noise (Wu & Johnson 2021, section 6; Good, *Permutation Tests*, 2005, chapter 3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.errors import NormscopeError
from normscope.probes.answers import Change
from normscope.probes.answers.coupling import Leak
from normscope.probes.changes import changed
from normscope.probes.comparison import Column, column, mean
from normscope.probes.judgement import UNITS, Judged
from normscope.probes.mates import AnyBatch
from normscope.probes.mixing import shuffled
from normscope.probes.passes import judged
from normscope.probes.setup import Given

SHUFFLES = 4
PASSES = SHUFFLES + 2
LEAST_BATCHES = 4
Ask = Callable[[Sequence[Any]], list[Judged]]


def leak(
    model: nn.Module,
    batches: Sequence[Given],
    norms: Collection[_BatchNorm],
    progress: Callable[[float], None] = lambda _: None,
) -> Leak:
    """The comparison. Raises NormscopeError with the reason where there is none: too few batches, no loss of a sample.

    To be called inside `untouched`.
    """
    return leaked(
        batches,
        lambda some: judged(model, some, norms),
        lambda some: judged(model, some),
        shuffled,
        UNITS.get(batches[0].loss or "", "loss"),
        progress,
    )


def leaked(
    batches: Sequence[AnyBatch],
    by_batch: Ask,
    by_running: Ask,
    shuffle: Callable[
        [Sequence[AnyBatch], Sequence[int], int], tuple[list[AnyBatch], torch.Tensor]
    ],
    unit: str,
    progress: Callable[[float], None],
) -> Leak:
    """The comparison of whatever answers, by each batch's own statistics and by running ones."""
    if len(batches) < LEAST_BATCHES:
        raise NormscopeError(f"fewer than {LEAST_BATCHES} batches were given")
    own = by_batch(batches)
    kinds = [k for k in ("wrong", "loss") if _by_sample(own, k, batches)]
    if not kinds:
        raise NormscopeError(
            "nothing is known of a single sample: neither its target's class nor a loss of its own (the loss gives one number "
            "for a batch, which changes with the batch itself)"
        )
    sizes = [b.samples for b in batches]
    runs: dict[str, list[torch.Tensor]] = {k: [] for k in kinds}
    for seed in range(SHUFFLES):
        others, order = shuffle(batches, sizes, seed)
        answers = by_batch(others)
        for kind in kinds:
            values = column(answers, kind)
            if values is None:
                raise NormscopeError("batches that were shuffled could not be judged")
            back = torch.empty(len(order), dtype=torch.float64)
            back[order] = torch.cat(values)
            runs[kind].append(back)
        progress((seed + 1) / PASSES)
    running = by_running(batches)
    changes = {k: _change(column(own, k), runs[k], sizes) for k in kinds}
    return Leak(
        samples=sum(sizes),
        batches=len(batches),
        shuffles=SHUFFLES,
        unit=unit,
        error=changes.get("wrong"),
        loss=changes.get("loss"),
        running_error=_mean(running, "wrong"),
        running_loss=_mean(running, "loss"),
    )


def _by_sample(answers: Sequence[Judged], kind: str, batches: Sequence[AnyBatch]) -> bool:
    values = column([*answers], kind)
    return values is not None and all(
        len(v) == b.samples > 1 for v, b in zip(values, batches, strict=True)
    )


def _change(own: Column | None, runs: list[torch.Tensor], sizes: list[int]) -> Change:
    """From the loader's batches to the mean of the shuffles. What one shuffle differs from another by is part of the noise."""
    assert own is not None
    after = [*torch.stack(runs).mean(0).split(sizes)]
    between = float(torch.stack([r.mean() for r in runs]).std()) / math.sqrt(len(runs))
    return changed(own, after, between)


def _mean(answers: Sequence[Judged], kind: str) -> float | None:
    values = column([*answers], kind)
    return None if values is None else mean(values)
