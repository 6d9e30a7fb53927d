# pyright: basic
"""95 % intervals by resampling independent units: batches, or samples where they are independent."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from statistics import NormalDist

import torch

from normscope.probes.answers import Estimate

DRAWS = 2000
FEWEST = 4  # units; below, their spread says too little for an interval
NORMAL = NormalDist()


def student(p: float, degrees: int) -> float:
    """Quantile of Student's t by the expansion of Cornish and Fisher: within 2 % from 3 degrees of freedom on."""
    z, n = NORMAL.inv_cdf(p), degrees
    terms = (
        z,
        (z**3 + z) / (4 * n),
        (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2),
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3),
    )
    return sum(terms)


def tail(units: int) -> float:
    """Which percentile of the bootstrap is the lower end of a 95 % interval.

    A percentile interval of few units is too narrow, for resampling divides by n and knows no t. Hesterberg, *What Teachers
    Should Know About the Bootstrap*, 2015, section 3.4.4: Φ(t · √(n/(n − 1))), with t at 2.5 %.
    """
    return NORMAL.cdf(student(0.025, units - 1) * sqrt(units / (units - 1)))


def resampled(
    units: torch.Tensor, statistic: Callable[[torch.Tensor], torch.Tensor], *, seed: int = 0
) -> Estimate:
    """A smooth function of means, with its interval.

    `units` has shape (units, numbers), float64. `statistic` maps means of shape (draws, numbers) to (draws,). Without an interval below four units; the
    deviation of the draws, widened by √((n − 1)/(n − 3)) as elsewhere, is the noise.
    """
    n = len(units)
    value = float(statistic(units.mean(0)[None])[0])
    if n < FEWEST:
        return Estimate(value, float("nan"))
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randint(n, (DRAWS, n), generator=generator)
    times = torch.zeros(DRAWS, n, dtype=units.dtype).scatter_add_(
        1, draws, torch.ones(1, 1, dtype=units.dtype).expand(DRAWS, n)
    )
    found = statistic(times @ units / n)
    found = found[found.isfinite()]
    if len(found) < DRAWS // 2:
        return Estimate(value, float("nan"))
    at = tail(n)
    low, high = torch.quantile(found, torch.tensor([at, 1 - at], dtype=found.dtype)).tolist()
    noise = float(found.std()) * sqrt(n / (n - 1)) * sqrt((n - 1) / (n - 3))
    return Estimate(value, noise, low, high)
