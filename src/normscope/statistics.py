"""The formulas of batch statistics: how noisy they are, how fast their averages forget, how far two of them are apart.

Pure functions; no framework. Momentum α is PyTorch's: the weight of the new batch. Variances and
standard deviations are in the unit of the activation (or squared), counts in values, batches or updates.

Sources: the sampling theory is textbook (Kish, *Survey Sampling*, 1965, for the design effect); the
decomposition of the train-eval gap is Wu & Johnson's, https://arxiv.org/abs/2105.07576; the batch-size
rule of an average is Busbridge et al.'s, https://arxiv.org/abs/2307.13813. Each is simulated in the tests.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

GAUSSIAN_KURTOSIS = 3.0


def _at_least(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise ValueError(f"{name} must be at least {least:g}; got {value:g}.")


def _momentum(alpha: float) -> None:
    if not 0 < alpha <= 1:
        raise ValueError(f"Momentum must be above 0 and at most 1; got {alpha:g}.")


# Noise of one batch


def sd_of_batch_mean(n: float) -> float:
    """Standard deviation of the mean of `n` independent values, in standard deviations of a value: 1/√n."""
    _at_least("The number of values", n, 1)
    return 1 / math.sqrt(n)


def sd_of_batch_variance(n: float, kurtosis: float = GAUSSIAN_KURTOSIS) -> float:
    """Relative standard deviation of the unbiased variance of `n` independent values.

    √((κ − 1 + 2/(n − 1)) / n) with κ = E(x−μ)⁴/σ⁴, from Var(s²) = (μ₄ − σ⁴(n−3)/(n−1))/n.
    """
    _at_least("The number of values", n, 2)
    _at_least("Kurtosis", kurtosis, 1)
    return math.sqrt((kurtosis - 1 + 2 / (n - 1)) / n)


def scale_bias(n: int) -> float:
    """E[σ/s] of `n` independent Gaussian values, s² unbiased; infinite for n = 2.

    Normalizing with a batch's own deviation enlarges the result by this factor on average.
    """
    _at_least("The number of values", n, 2)
    if n == 2:
        return math.inf
    return math.sqrt((n - 1) / 2) * math.exp(math.lgamma((n - 2) / 2) - math.lgamma((n - 1) / 2))


def bessel_ratio(n: int) -> float:
    """Scale in evaluation over scale in training, √((n−1)/n).

    Training divides by the biased deviation; the running variance stores the unbiased one.
    """
    _at_least("The number of values", n, 2)
    return math.sqrt((n - 1) / n)


# Correlated values


def effective_values(samples: int, positions: int, correlation: float) -> float:
    """How many independent values the mean of `samples` × `positions` is worth (Kish's design effect).

    `correlation` is the average pairwise correlation of two positions of one sample; for the variance
    give that of (x−μ)² instead. Between `samples` (1) and `samples · positions` (0).
    """
    _at_least("The number of samples", samples, 1)
    _at_least("The number of positions", positions, 1)
    return samples * positions / (1 + (positions - 1) * correlation)


def effective_values_of(sample_means: ArrayLike, variance: ArrayLike) -> NDArray[np.float64]:
    """The same, estimated without correlations: N · σ² / Var(sample means), per channel.

    `sample_means` has shape (samples, channels), `variance` (channels,); infinite where all means agree. Valid on raw inputs or at
    fixed weights in eval mode only: below another batch norm in training the means are pinned.
    """
    means = np.asarray(sample_means, dtype=np.float64)
    if means.ndim != 2 or means.shape[0] < 2:
        raise ValueError(
            f"Sample means must have shape (samples ≥ 2, channels); got {means.shape}."
        )
    spread = means.var(axis=0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return means.shape[0] * np.asarray(variance, dtype=np.float64) / spread


def pooled(
    means: ArrayLike, variances: ArrayLike, counts: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and biased variance of the union of batches.

    `means` and biased `variances` have shape (batches, channels), `counts` (batches,). The mean of the batch
    variances alone is too small by the variance of the batch means; this adds it back.
    """
    m, v = np.asarray(means, dtype=np.float64), np.asarray(variances, dtype=np.float64)
    share = np.asarray(counts, dtype=np.float64)[:, None]
    share = share / share.sum()
    mean = (share * m).sum(axis=0)
    return mean, (share * (v + (m - mean) ** 2)).sum(axis=0)


# Running averages


def initial_weight(alpha: float, updates: float) -> float:
    """What share of a running average is still its initial value after `updates`: (1−α)^t."""
    if not 0 <= alpha <= 1:
        raise ValueError(f"Momentum must be between 0 and 1; got {alpha:g}.")
    return (1 - alpha) ** updates


def updates_to_forget(alpha: float, share: float = 0.01) -> int:
    """Updates until the initial value weighs at most `share`: 44 for α = 0.1, 459 for 0.01."""
    _momentum(alpha)
    return 1 if alpha == 1 else math.ceil(math.log(share) / math.log1p(-alpha))


def momentum_to_forget(updates: float, share: float = 0.01) -> float:
    """The least α, of two digits, after whose `updates` the initial value weighs at most `share`: 0.37 for 10 of them."""
    if updates < 1:
        raise ValueError(f"At least one update is needed; got {updates:g}.")
    return min(math.ceil(100 * -math.expm1(math.log(share) / updates)) / 100, 1.0)


def averaged_batches(alpha: float) -> float:
    """How many batches a running average is worth: (2−α)/α, 19 for α = 0.1 and 1 for α = 1."""
    _momentum(alpha)
    return (2 - alpha) / alpha


def sd_of_running_mean(alpha: float, n: float) -> float:
    """Standard deviation of a settled running mean of batches worth `n` independent values, in units of σ."""
    return sd_of_batch_mean(n) / math.sqrt(averaged_batches(alpha))


def lag(alpha: float, drift: float) -> float:
    """How far a running average trails behind a mean that moves by `drift` per update: δ(1−α)/α."""
    _momentum(alpha)
    return drift * (1 - alpha) / alpha


def momentum_for_batch(alpha: float, factor: float) -> float:
    """The momentum that keeps the window in samples when the batch grows by `factor`: 1 − (1−α)^k.

    For m micro-batches per step give 1/m.
    """
    _momentum(alpha)
    if not factor > 0:
        raise ValueError(f"The factor must be above 0; got {factor:g}.")
    return 1 - (1 - alpha) ** factor


# Distance between two sets of statistics


def mean_shift(
    running_mean: ArrayLike, mean: ArrayLike, variance: ArrayLike
) -> NDArray[np.float64]:
    """|running mean − mean| in population standard deviations, per channel."""
    difference = np.asarray(running_mean, dtype=np.float64) - np.asarray(mean, dtype=np.float64)
    return np.abs(difference) / np.sqrt(np.asarray(variance, dtype=np.float64))


def log_sd_ratio(running_var: ArrayLike, variance: ArrayLike) -> NDArray[np.float64]:
    """ln(running sd / population sd), per channel."""
    ratio = np.asarray(running_var, dtype=np.float64) / np.asarray(variance, dtype=np.float64)
    return 0.5 * np.log(ratio)


def divergence(
    mean: ArrayLike, variance: ArrayLike, running_mean: ArrayLike, running_var: ArrayLike
) -> NDArray[np.float64]:
    """KL divergence of N(`mean`, `variance`) from N(`running_mean`, `running_var`), in nats per channel."""
    v, r = np.asarray(variance, dtype=np.float64), np.asarray(running_var, dtype=np.float64)
    shift = np.asarray(mean, dtype=np.float64) - np.asarray(running_mean, dtype=np.float64)
    return 0.5 * ((v + shift**2) / r - 1 - np.log(v / r))
