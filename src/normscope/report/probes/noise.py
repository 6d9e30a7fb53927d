"""The noise of batch statistics in plain words and by layer."""

from __future__ import annotations

from collections.abc import Iterator

from normscope.probes.answers import Estimate
from normscope.probes.answers.noise import LayerNoise, Noise
from normscope.report.html.figures import Section, bars, table
from normscope.report.wording import MISSING, count, number, percent, shortened


def sentence(noise: Noise) -> str:
    """The layer with the noisiest mean, and the one that needs the largest batch for its running mean."""
    worst = max(noise.layers, key=lambda x: x.mean_predicted)
    told = (
        f"a batch of {noise.batch} is worth {number(worst.n_eff)} independent values at `{shortened(worst.path)}`, where they are fewest: its mean is off by "
        f"{number(worst.mean_observed.value)} standard deviations (predicted {number(worst.mean_predicted)}), its variance by "
        f"{percent(worst.var_observed.value)} (predicted {percent(worst.var_predicted)})"
    )
    slow = max(
        (x for x in noise.layers if x.running is not None),
        key=lambda x: x.running or 0.0,
        default=None,
    )
    if slow is not None:
        told += (
            f"; running means settle within {number(slow.running)} standard deviations, and stay within 0.1 from "
            f"{count(slow.enough or 1, 'sample')} a batch on"
        )
    return f"Noise of {shortened(noise.name)}: {told}."


def sections(noise: Noise, number_: int) -> Iterator[Section]:
    """Observed against predicted, by layer."""
    yield Section(
        f"noise-{number_}",
        f"How noisy a batch's statistics are: {shortened(noise.name)}",
        f"{noise.batches:,} batches of {noise.batch} at fixed weights in evaluation mode. The error of a batch's mean, in standard deviations of a value: observed between "
        "batches, with its 95 % interval, and predicted from single samples. Observed above predicted: the samples of a batch are no independent draws.",
        bars=bars(
            [
                (
                    shortened(x.path, 36),
                    x.mean_observed.value,
                    0.0
                    if x.mean_observed.low is None or x.mean_observed.high is None
                    else (x.mean_observed.high - x.mean_observed.low) / 2,
                    f"{_interval(x.mean_observed)}, predicted {number(x.mean_predicted)}",
                    "two" if _more(x) else "one",
                )
                for x in noise.layers[:30]
            ]
        ),
        table=table(
            [
                "layer",
                "values",
                "independent values: mean",
                "variance",
                "kurtosis",
                "error of the mean, sd: observed",
                "predicted",
                "if all values were independent",
                "error of the variance: observed",
                "predicted",
                "momentum",
                "error of the running mean, sd",
                "of the running variance",
                "batch for a running mean within 0.1 sd",
                "for a batch's own mean",
            ],
            [
                [
                    shortened(x.path),
                    number(float(x.values)),
                    number(x.n_eff),
                    number(x.n_eff_var),
                    number(x.kurtosis),
                    _interval(x.mean_observed),
                    number(x.mean_predicted),
                    number(x.independent),
                    _interval(x.var_observed),
                    number(x.var_predicted),
                    number(x.momentum),
                    number(x.running),
                    number(x.running_var),
                    MISSING if x.enough is None else str(x.enough),
                    str(x.enough_alone),
                ]
                for x in noise.layers
            ],
        ),
    )


def _more(layer: LayerNoise) -> bool:
    low = layer.mean_observed.low
    return low is not None and low > layer.mean_predicted


def _interval(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return number(estimate.value)
    return f"{number(estimate.value)} ({number(estimate.low)} to {number(estimate.high)})"
