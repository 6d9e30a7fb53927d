# pyright: basic
"""Which layer's statistics carry the gap: how far each one's are off, and what swapping it alone gives back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from time import perf_counter

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.probes.comparison import column_of, mean
from normscope.probes.judgement import Judged
from normscope.probes.population import Moments, Statistics, install
from normscope.probes.results import Gap, LayerGap

Stored = Mapping[_BatchNorm, tuple[torch.Tensor, torch.Tensor]]  # running mean and variance


def stored(norms: list[_BatchNorm]) -> dict[_BatchNorm, tuple[torch.Tensor, torch.Tensor]]:
    """Copies of the running statistics."""
    return {
        n: (n.running_mean.clone(), n.running_var.clone())
        for n in norms
        if n.running_mean is not None and n.running_var is not None
    }


def restore(statistics: Stored) -> None:
    """Write copied running statistics back."""
    for norm, (mean_, var) in statistics.items():
        if norm.running_mean is not None and norm.running_var is not None:
            norm.running_mean.copy_(mean_)
            norm.running_var.copy_(var)


def shares(
    judged: Callable[[], list[Judged]],
    running: Stored,
    recomputed: Statistics,
    gap: Gap,
    deadline: float,
) -> dict[_BatchNorm, float]:
    """The part of C − B that goes when one layer alone gets recomputed statistics, while there is time.

    `judged` judges some batches under the statistics installed. Empty where C − B is within its noise, or has no sign.
    """
    unclear = gap.measure == "output" or not gap.stale.value > 3 * gap.stale.noise
    if unclear or perf_counter() > deadline:
        return {}

    def cost() -> float:
        column = column_of(judged(), gap.measure)
        return mean(column) if column else math.nan

    restore(running)
    worst = cost()
    install(recomputed)
    best = cost()
    found: dict[_BatchNorm, float] = {}
    for norm in recomputed:
        if perf_counter() > deadline or worst == best:
            break
        restore(running)
        install(recomputed, only=norm)
        found[norm] = (worst - cost()) / (worst - best)
    return found


def layer_gap(
    norm: _BatchNorm,
    stored: tuple[torch.Tensor, torch.Tensor],
    whole: Moments,
    halves: tuple[Moments, Moments],
    *,
    layer: int,
    path: str,
    share: float,
) -> LayerGap:
    """How far stored statistics are from the population's; NaN where they are not numbers."""
    mean_, var = (t.to(whole.mean.device, torch.float64) for t in stored)
    spread = whole.var + norm.eps
    one, two = halves
    between = (one.var + norm.eps) / (two.var + norm.eps)
    # Half the distance between two halves is about the error of the whole.
    floor = 0.5 * max(_rms((one.mean - two.mean) / spread.sqrt()), _rms(0.5 * between.log()))
    return LayerGap(
        layer,
        path,
        mean_shift=_rms((mean_ - whole.mean) / spread.sqrt()),
        log_sd=_rms(0.5 * ((var + norm.eps) / spread).log()),
        floor=floor,
        share=share,
    )


def _rms(x: torch.Tensor) -> float:
    return float(x.square().mean().sqrt())
