# pyright: basic
"""From losses of paired arms to effects with intervals, and what a constant answer would lose."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from normscope.probes.answers.batch_size import Interval
from normscope.probes.answers.regularization import Effect, Immediate
from normscope.probes.changes import changed
from normscope.probes.comparison import Column
from normscope.probes.gram import student
from normscope.probes.judgement import CLASSES
from normscope.probes.setup import Given


def effect(
    name: str,
    on: list[tuple[torch.Tensor, torch.Tensor | None]],
    off: list[tuple[torch.Tensor, torch.Tensor | None]],
) -> Effect:
    train = paired(torch.stack([b - a for (a, _), (b, _) in zip(on, off, strict=True)]))
    there = [
        b - a for (_, a), (_, b) in zip(on, off, strict=True) if a is not None and b is not None
    ]
    return Effect(name, train, paired(torch.stack(there)) if there else None)


def paired(differences: torch.Tensor) -> Interval:
    """The mean of differences (seeds, samples) with its 95 % interval.

    Its variance is the sum of that over seeds and that over samples, each of the means over the other: samples are shared by all
    seeds. Student's t has seeds − 1 degrees of freedom.
    """
    seeds, samples = differences.shape
    value = float(differences.mean())
    variance = float(differences.mean(1).var()) / seeds
    if samples > 1:
        variance += float(differences.mean(0).var()) / samples
    error = student(seeds) * math.sqrt(variance)
    return Interval(value, value - error, value + error)


def immediate(name: str, on: Column, off: Column) -> Immediate:
    """Of the same samples in the same batches, which are the units: their samples share statistics."""
    change = changed(on, off)
    rise = change.rise
    low = -math.inf if rise.low is None else rise.low
    high = math.inf if rise.high is None else rise.high
    return Immediate(name, change.before, change.after, Interval(rise.value, low, high))


def constant(batches: Sequence[Given]) -> float | None:
    """The loss of the best constant answer: entropy of the classes in nats, variance of the targets; else None."""
    targets = [b.target for b in batches if b.target is not None]
    if len(targets) < len(batches):
        return None
    loss, every = batches[0].loss, torch.cat([t.reshape(-1) for t in targets])
    if loss in CLASSES and not every.is_floating_point():
        every = every[every != batches[0].loss_kwargs.get("ignore_index", -100)]
        share = every.unique(return_counts=True)[1].double() / max(1, len(every))
        return float(-(share * share.log()).sum())
    if loss == "mse_loss":
        rows = torch.cat([t.reshape(len(t), -1) for t in targets]).double()
        return float(rows.var(0, correction=0).mean())
    return None
