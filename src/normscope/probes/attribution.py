# pyright: basic
"""Which layer's statistics carry the gap: how far each one's are off, and what swapping it alone gives back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.probes.clock import now
from normscope.probes.comparison import column_of
from normscope.probes.judgement import Judged
from normscope.probes.population import Moments, Statistics, install
from normscope.probes.results import Gap, LayerGap

UNKNOWN = (math.nan, None, None)
DRAWS = 500  # of the bootstrap
Share = tuple[float, float | None, float | None]  # with the ends of its interval
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
) -> dict[_BatchNorm, Share]:
    """The part of C − B that goes when one layer alone gets recomputed statistics, while there is time.

    `judged` judges some batches under the statistics installed. Empty where C − B is within its noise, or has no sign.
    """
    unclear = gap.measure == "output" or not gap.stale.value > 3 * gap.stale.noise
    if unclear or now() > deadline:
        return {}

    def cost() -> torch.Tensor | None:
        column = column_of(judged(), gap.measure)
        return torch.cat(column) if column else None

    restore(running)
    worst = cost()
    install(recomputed)
    best = cost()
    found: dict[_BatchNorm, Share] = {}
    if worst is None or best is None or float(worst.mean()) == float(best.mean()):
        return found
    for norm in recomputed:
        if now() > deadline:
            break
        restore(running)
        install(recomputed, only=norm)
        if (alone := cost()) is not None:
            found[norm] = _share(worst, best, alone)
    return found


def _share(worst: torch.Tensor, best: torch.Tensor, alone: torch.Tensor) -> Share:
    """(worst − alone) / (worst − best) in the means over samples, with the percentile interval of a paired bootstrap.

    No interval below 20 values, nor where the denominator comes near zero in some draw: it would be unbounded.
    """
    gained, whole = worst - alone, worst - best
    share = float(gained.mean() / whole.mean())
    n = len(whole)
    if n < 20:
        return share, None, None
    generator = torch.Generator().manual_seed(0)
    draws = torch.randint(n, (DRAWS, n), generator=generator)
    below, above = whole[draws].mean(1), gained[draws].mean(1)
    if float((below / whole.mean()).min()) < 0.1:
        return share, None, None
    low, high = torch.quantile(above / below, torch.tensor([0.025, 0.975], dtype=above.dtype))
    return share, float(low), float(high)


def layer_gap(
    norm: _BatchNorm,
    stored: tuple[torch.Tensor, torch.Tensor],
    whole: Moments,
    halves: tuple[Moments, Moments],
    *,
    layer: int,
    path: str,
    share: Share,
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
        share=share[0],
        low=share[1],
        high=share[2],
    )


def _rms(x: torch.Tensor) -> float:
    return float(x.square().mean().sqrt())
