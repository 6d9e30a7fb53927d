"""What the noise probe found. Imports no framework."""

from __future__ import annotations

import msgspec

from normscope.probes.answers import Estimate


class LayerNoise(msgspec.Struct, frozen=True, kw_only=True):
    """How noisy the statistics of one batch are at one batch norm's input: fixed weights, evaluation mode.

    Means over channels. `mean_predicted` and `mean_observed` are standard deviations of a batch's mean, in standard deviations of a value;
    `var_predicted` and `var_observed` those of a batch's unbiased variance, relative to the variance. Predictions are for a batch of independent samples; `independent`
    is that of the mean if all `values` of a batch were independent. `n_eff` and `n_eff_var` are the numbers of independent
    values that a batch's mean and variance are worth. `running` is the error of a settled running mean, `running_var` of a
    running variance, None without momentum; `enough` is the batch with which the error of the running mean falls below 0.1 standard deviations, `enough_alone` that
    with which a batch's own mean does.
    """

    layer: int
    path: str
    values: int
    kurtosis: float
    n_eff: float
    n_eff_var: float
    independent: float
    mean_predicted: float
    mean_observed: Estimate
    var_predicted: float
    var_observed: Estimate
    momentum: float | None
    running: float | None
    running_var: float | None
    enough: int | None
    enough_alone: int


class Noise(msgspec.Struct, frozen=True, kw_only=True):
    """The batch norms of one model, in the order in which they ran."""

    model: int
    name: str
    batch: int
    batches: int
    samples: int
    layers: tuple[LayerNoise, ...]
