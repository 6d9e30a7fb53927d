# pyright: basic
"""Relative bias and cosine of averaged gradients from inner products over sets of samples, with bootstrap intervals.

For set k let g_k be the gradient with all its samples in one batch and d_kr what the r-th random cut into smaller batches
adds to it. With d_k the mean over cuts, and means over sets written without an index,

    bias² = |d|² / |g|²,    cosine = ⟨g, g + d⟩ / (|g| |g + d|).

Which samples share a batch is chance, so that |d_k|² is too large by the variance over cuts; its place takes the mean of
⟨d_kr, d_ks⟩ over pairs of different cuts, which has no such part (a U-statistic). The estimate of |d|² may fall below 0; then
the bias is 0. Intervals come from drawing sets with replacement: bootstrap standard error × Student's t with sets − 1 degrees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from normscope.probes.answers.batch_size import Interval

DRAWS = 1000
# 97.5 % quantiles of Student's t for 1, 2, … degrees of freedom.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Gram:
    """Inner products between sets, each (layers, sets, sets), float64: ⟨g, g⟩, ⟨d, g⟩ and ⟨d, d⟩.

    `chance` (layers, sets) has the variance over cuts, Σ_r |d_kr − d_k|² / (cuts − 1).
    """

    gg: torch.Tensor
    dg: torch.Tensor
    dd: torch.Tensor
    chance: torch.Tensor

    @classmethod
    def of(cls, whole: torch.Tensor, cut: torch.Tensor, layers: Sequence[slice]) -> Gram:
        """`whole` (sets, D) has g_k, `cut` (sets, cuts, D) has g_k + d_kr; each layer has a slice of D."""
        parts = [_products(whole[:, s].double(), cut[..., s].double()) for s in layers]
        return cls(*(torch.stack(p) for p in zip(*parts, strict=True)))

    def with_total(self) -> Gram:
        """All layers together as one more, the last."""
        every = (self.gg, self.dg, self.dd, self.chance)
        return Gram(*(torch.cat([m, m.sum(0, keepdim=True)]) for m in every))

    def added_noise(self) -> torch.Tensor:
        """For each layer the variance over cuts as a multiple of that between sets: what batch mates add to the noise of sampling."""
        sets = self.gg.shape[1]
        own = self.gg.diagonal(dim1=1, dim2=2).sum(1)
        between = (own - self.gg.sum((1, 2)) / sets) / (sets - 1)
        return torch.where(between > 0, self.chance.mean(1) / between, torch.nan)


def _products(g: torch.Tensor, cut: torch.Tensor) -> tuple[torch.Tensor, ...]:
    d = cut - g[:, None]
    mean = d.mean(1)
    dd = mean @ mean.T
    cuts = d.shape[1]
    if cuts < 2:
        return g @ g.T, mean @ g.T, dd, dd.new_zeros(len(g))
    chance = (d - mean[:, None]).square().sum((1, 2)) / (cuts - 1)
    # |d_k|² without its expected part from chance equals the mean of ⟨d_kr, d_ks⟩ over r ≠ s.
    return g @ g.T, mean @ g.T, dd - torch.diag(chance / cuts), chance


def bias_squared(gram: Gram, weights: torch.Tensor) -> torch.Tensor:
    """(draws, layers) for weights (draws, sets) that sum to one; NaN where the reference has no length."""
    g, _, d = _forms(gram, weights)
    return torch.where(g > 0, d / g, torch.nan)


def cosine(gram: Gram, weights: torch.Tensor) -> torch.Tensor:
    """(draws, layers), between −1 and 1; NaN where one of the two has no length."""
    g, dg, d = _forms(gram, weights)
    other = g + 2 * dg + d
    known = (g > 0) & (other > 0)
    value = (g + dg) / (g * other).clamp_min(0).sqrt()
    return torch.where(known, value.clamp(-1, 1), torch.nan)


def _forms(gram: Gram, w: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return tuple(torch.einsum("bk,lkm,bm->bl", w, m, w) for m in (gram.gg, gram.dg, gram.dd))


def all_sets(sets: int) -> torch.Tensor:
    """Every set once: weights (1, sets)."""
    return torch.full((1, sets), 1 / sets, dtype=torch.float64)


def resampled(sets: int, draws: int = DRAWS) -> torch.Tensor:
    """Sets drawn with replacement: weights (draws, sets), seeded."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(sets, (draws, sets), generator=generator)
    return torch.nn.functional.one_hot(drawn, sets).sum(1).double() / sets


def student(sets: int) -> float:
    """The 97.5 % quantile of Student's t for `sets` − 1 degrees of freedom; from 16 on that for 15."""
    return STUDENT[min(max(sets - 1, 1), len(STUDENT)) - 1]


def interval(value: float, draws: torch.Tensor, sets: int, low: float, high: float) -> Interval:
    """value ± t × the standard deviation of the draws, inside the range that it can have."""
    known = draws[draws.isfinite()]
    error = student(sets) * float(known.std()) if len(known) > 1 else float("nan")
    return Interval(min(max(value, low), high), max(value - error, low), min(value + error, high))


def root(squared: Interval) -> Interval:
    """The interval of a square as that of its root; what is below 0 is 0."""
    value, low, high = (max(x, 0.0) ** 0.5 for x in (squared.value, squared.low, squared.high))
    return Interval(value, low, high)
