from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from normscope.concepts.wording import named
from normscope.evidence import Facts
from normscope.finding import SEVERITIES, Confidence, Finding, Measured, Remedy, Severity
from normscope.record.recording import Layer, Recording
from normscope.rule import Faulty, Healthy, rule

Variances = NDArray[np.floating]
LARGE = 0.05  # no published setting is above 0.01
HALF = 0.5  # eps / (variance + eps) from which eps sets the scale, not the variance
BLIND = 0.5  # eps that is a mistake whatever the variance, which is not known
TINY = 1e-10  # below it the rounding of a mean in single precision is no longer small beside √eps
CONSTANT = 1e-8  # a variance that is rounding noise of values around 1
DEFAULT = 1e-5  # of PyTorch
HIGHEST = 1e-2  # the largest published setting
TENTH = 0.1  # of a typical variance: costs its channel 5 % of its scale, and bounds what a constant one can come out as


def by_settings(facts: Facts) -> Iterator[Finding]:
    """Without a run: against the variances that the model brought along, where it did."""
    judged: list[Judged] = []
    for layer in facts.layers:
        stored = None if layer.fresh_at_start else facts.stored.get(layer.id)
        rows = stored.running_var if stored is not None and stored.running_var.size else None
        known = rows is not None and bool(np.isfinite(rows).any())
        typical = float(np.nanmedian(rows)) if rows is not None and known else None
        least = float(np.nanmin(rows)) if rows is not None and known else None
        if found := judge(layer, typical, least, varying_variance(rows)):
            judged.append(found)
    yield from findings_of(facts.name, judged)


@rule(
    "NS205",
    severity="warning",
    since="0.1.0",
    explains=("NS502", "NS503", "NS504", "NS505", "NS506"),
    static=by_settings,
)
def epsilon_out_of_range(recording: Recording) -> Iterator[Finding]:
    r"""The eps of a norm is so large that it dominates the variance, or so small that rounding noise is scaled up.

    ## What it checks
    Layers that were trained. Large: eps of 0.05 or more against the median running variance of the layer, as the
    share $\epsilon / (\sigma^2 + \epsilon)$; a warning from one half, else an info. Where a norm stores no variance, 0.5 or more is a warning.
    Small: eps below 1e-10 in a batch norm; a warning when some channel is constant (variance below 1e-8), else an info. Exactly 0 is a warning in every norm.

    ## Why it matters
    A norm divides by $\sqrt{\sigma^2 + \epsilon}$. A large $\epsilon$ takes its place: what comes out is smaller than 1, the next variance is smaller
    still, and the signal fades. It is mostly a momentum in the wrong place: the second argument of `BatchNorm2d` is eps.
    Measured on digits with five norms, 150 steps: up to 0.1 no more than 4 points lost; 0.3 up to 62 (shares of 0.81 to 0.90
    in every layer); 0.8 all of it with SGD, 3 to 7 points with Adam. A tiny $\epsilon$ multiplies the rounding noise of a constant channel
    (at 1e-12 to 0.9 standard deviations, at 1e-8 to 0.03) and whatever differs from the constant in evaluation by $1/\sqrt{\epsilon}$.

    ## Example
    ```python
    nn.BatchNorm2d(64, 0.8)  # eps=0.8; meant was momentum
    nn.BatchNorm2d(64, momentum=0.2)  # Keras' momentum 0.8 in PyTorch's sense
    ```

    ## Repair
    `eps=1e-5`, and `momentum=` by its name. Beside a constant channel a tenth of the typical variance of those that vary, at most 0.01: with 1e-5
    what differs from the constant in evaluation would still be multiplied by 300. Measured on digits with constant margins, half of the test set shifted
    into them: 0.485 with 1e-14, 0.483 with 1e-5, 0.549 with 0.007, 0.590 with 0.01.

    ## Known limits
    Silent from 1e-10 to 0.05, which covers all published settings (1e-12 in layer norms of language models to 1e-3), and for
    layers that were only evaluated in a run. Where only the code was looked at, every norm is judged, against the variances that a checkpoint
    brought. A large eps beside large variances is an info: it does nothing. Variances are
    those at the end of the run, when weights may have grown to make up for it.

    ## References
    - Ioffe & Szegedy, *Batch Normalization*, 2015, algorithm 1. https://arxiv.org/abs/1502.03167
    - https://docs.pytorch.org/docs/stable/generated/torch.nn.BatchNorm2d.html
    """
    judged: dict[int, list[Judged]] = {}
    for layer in recording.layers.values():
        if not any(recording.calls(layer.id, "training")):
            continue
        known = recording.channels.get(layer.id)
        rows = None if known is None else known.running_var
        typical, least = typical_variance(recording, layer), least_variance(recording, layer)
        if found := judge(layer, typical, least, varying_variance(rows)):
            judged.setdefault(layer.model, []).append(found)
    for model, found in judged.items():
        yield from findings_of(recording.models[model].name, found)


def findings_of(name: str, judged: Iterable[Judged]) -> Iterator[Finding]:
    """One for each eps."""
    groups: dict[float, list[Judged]] = {}
    for found in judged:
        groups.setdefault(found.layer.eps, []).append(found)
    for eps, found in groups.items():
        worst = max(found, key=lambda j: (SEVERITIES.index(j.severity), j.size))
        layers = [j.layer for j in found]
        names = named(layers)
        yield Finding(
            f"{names} {'has' if len(layers) == 1 else 'have'} eps={eps:g}{worst.consequence} {worst.advice}",
            severity=worst.severity,
            confidence=worst.confidence,
            model=name,
            layers=tuple(x.path for x in layers),
            site=worst.layer.site,
            measured=(Measured("eps", eps, "variance", low=TINY, high=LARGE), *worst.measured),
            repairs=(Remedy("set eps", "changes-function", f"eps={worst.use:g}"),),
        )


@dataclass(frozen=True, slots=True)
class Judged:
    """One layer whose eps is out of range, and how much that is."""

    layer: Layer
    severity: Severity
    size: float
    consequence: str
    advice: str
    measured: tuple[Measured, ...] = ()
    confidence: Confidence = "high"
    use: float = DEFAULT


def judge(
    layer: Layer, typical: float | None, least: float | None, varying: float | None
) -> Judged | None:
    """By the layer's typical and least variance and the typical one of channels that vary, as far as they are known."""
    if layer.eps >= LARGE:
        return large(layer, typical)
    if layer.eps <= 0:
        text = ": where a variance is 0 it divides by 0, and the result is not a number."
        return Judged(layer, "warning", 1.0, text, f"Use eps={DEFAULT:g}.", confidence="medium")
    if layer.eps < TINY and layer.kind in ("batch", "instance"):
        return tiny(layer, least, varying)
    return None


def large(layer: Layer, variance: float | None) -> Judged:
    advice = (
        f"If that was meant as momentum, name it: the second argument is eps. Use eps={DEFAULT:g}."
    )
    if variance is None:
        severity: Severity = "warning" if layer.eps >= BLIND else "info"
        text = ", which is added to the variance: smaller ones no longer set the scale."
        return Judged(layer, severity, layer.eps, text, advice, confidence="medium")
    share = layer.eps / (variance + layer.eps)
    text = (
        f", against a typical variance of {variance:.2g} in `{layer.path}`: "
        f"{share:.0%} of what it divides by is eps, so its output has standard deviation {sqrt(1 - share):.2g}, not 1."
    )
    measured = Measured("share of eps in variance + eps", share, "1", high=HALF)
    return Judged(layer, "warning" if share >= HALF else "info", share, text, advice, (measured,))


def tiny(layer: Layer, least: float | None, varying: float | None) -> Judged:
    constant = least is not None and least < CONSTANT
    text = (
        f", and a channel of `{layer.path}` has variance {least:.2g}: "
        f"rounding noise, and whatever differs in evaluation, is multiplied by up to {1 / sqrt(max(least, 0) + layer.eps):.1g}."
        if least is not None and constant
        else f": a channel that becomes constant would be multiplied by up to {1 / sqrt(layer.eps):.1g}."
    )
    measured = () if least is None else (Measured("least variance", least, "1", low=CONSTANT),)
    severity: Severity = "warning" if constant else "info"
    use, advice = DEFAULT, f"Use eps={DEFAULT:g}."
    if constant and varying is not None and varying * TENTH > DEFAULT:
        use = float(f"{min(varying * TENTH, HIGHEST):.1g}")
        advice = (
            f"Use eps={use:g}: what differs there by as much as a typical channel varies then comes out as "
            f"{sqrt(varying / use):.0f} standard deviations, with PyTorch's {DEFAULT:g} as {sqrt(varying / DEFAULT):.0f}."
        )
    return Judged(layer, severity, -layer.eps, text, advice, measured, use=use)


def typical_variance(recording: Recording, layer: Layer) -> float | None:
    """Median running variance at the end, else the geometric middle of the last look's extremes; None: never moved."""
    if not layer.updates:
        return None
    known = recording.channels.get(layer.id)
    if known is not None and np.isfinite(known.running_var).any():
        return float(np.nanmedian(known.running_var))
    low = last_look(recording, layer, "running_var_min")
    high = last_look(recording, layer, "running_var_max")
    return None if low is None or high is None else sqrt(max(low, 0.0) * max(high, 0.0))


def varying_variance(rows: Variances | None) -> float | None:
    """The median over channels that are not constant; None where there is none, or none is known."""
    varying = rows[rows >= CONSTANT] if rows is not None else ()
    return float(np.median(varying)) if len(varying) else None


def least_variance(recording: Recording, layer: Layer) -> float | None:
    """The least running or batch variance of any channel that was seen; None: unknown."""
    known = recording.channels.get(layer.id)
    seen = [last_look(recording, layer, n) for n in ("running_var_min", "batch_var_min")]
    if known is not None and known.running_var.size and layer.updates:
        seen.append(float(known.running_var.min()))
    values = [v for v in seen if v is not None]
    return min(values) if values else None


def last_look(recording: Recording, layer: Layer, name: str) -> float | None:
    polls = recording.polls
    if polls is None or layer.id not in polls.layers:
        return None
    column = polls.values[name][:, polls.layers.index(layer.id)]
    known = column[np.isfinite(column)]
    return float(known[-1]) if known.size else None


_LAYER = "type=LayerNorm kind=layer tracks=False fresh_at_start=None fresh_at_end=None"


def _var(low: float, high: float, batch: float | None = None) -> str:
    more = "" if batch is None else f" batch_var_min={batch}"
    return f"poll a 90 running_var_min={low} running_var_max={high}{more}"


CASES = (
    Faulty(
        "momentum in second place",
        ("a", "b"),
        story=f"layer a eps=0.8; layer b eps=0.8; train a,b x100; {_var(0.1, 0.4)}",
        severity="warning",
    ),
    Faulty(
        "just dominates",
        ("a",),
        story=f"layer a eps=0.1; train a x100; {_var(0.09, 0.09)}",
        severity="warning",
    ),
    Faulty(
        "large beside large variances",
        ("a",),
        story=f"layer a eps=0.1; train a x100; {_var(10.0, 90.0)}",
        severity="info",
    ),
    Faulty(
        "layer norm",
        ("a",),
        story=f"layer a {_LAYER} eps=0.9; train a x100",
        severity="warning",
    ),
    Faulty(
        "layer norm, rather large",
        ("a",),
        story=f"layer a {_LAYER} eps=0.1; train a x100",
        severity="info",
    ),
    Faulty(
        "tiny, with a constant channel",
        ("a",),
        story=f"layer a eps=1e-12; train a x100; {_var(3e-9, 1.0)}",
        severity="warning",
    ),
    Faulty(
        "tiny, with a batch variance of 0",
        ("a",),
        story=f"layer a eps=1e-12; train a x20; {_var(0.1, 1.0, 0.0)}",
        severity="warning",
    ),
    Faulty(
        "tiny, every channel varies",
        ("a",),
        story=f"layer a eps=1e-12; train a x100; {_var(0.1, 1.0)}",
        severity="info",
    ),
    Faulty("zero", ("a",), story=f"layer a {_LAYER} eps=0.0; train a x100", severity="warning"),
    Healthy("default", story=f"layer a; train a x100; {_var(0.1, 0.4)}"),
    Healthy("Keras' default", story=f"layer a eps=1e-3; train a x100; {_var(0.1, 0.4)}"),
    Healthy(
        "Keras' default above small variances",
        story=f"layer a eps=1e-3; train a x100; {_var(1e-4, 2e-3)}",
    ),
    Healthy("0.01", story=f"layer a eps=0.01; train a x100; {_var(0.1, 0.4)}"),
    Healthy("just below", story=f"layer a eps=0.049; train a x100; {_var(0.1, 0.4)}"),
    Healthy("layer norm of a language model", story=f"layer a {_LAYER} eps=1e-12; train a x100"),
    Healthy("1e-8, constant channel", story=f"layer a eps=1e-8; train a x100; {_var(0.0, 1.0)}"),
    Healthy("dead channel, default eps", story=f"layer a; train a x100; {_var(0.0, 1.0, 0.0)}"),
    Healthy(
        "RMS norm with the eps of its dtype",
        story="layer a type=RMSNorm kind=rms tracks=False fresh_at_start=None fresh_at_end=None eps=1.19e-7; train a x100",
    ),
    Healthy("only evaluated", story="layer a eps=0.8 fresh_at_start=False; infer a mode=eval"),
    Healthy("never ran", story="layer a eps=0.8; layer b; train b x100"),
    Faulty(
        "second place, not trained yet",
        ("a", "b"),
        static="layer a eps=0.8; layer b eps=0.8",
        severity="warning",
    ),
    Faulty("rather large, not trained yet", ("a",), static="layer a eps=0.1", severity="info"),
    Faulty(
        "dominates a checkpoint's variances",
        ("a",),
        static="layer a eps=0.1 fresh_at_start=False; channels a mean=0.0 var=0.05",
        severity="warning",
    ),
    Faulty(
        "tiny above a constant channel of a checkpoint",
        ("a",),
        static="layer a eps=1e-12 fresh_at_start=False; channels a mean=0.0 var=0.0",
        severity="warning",
    ),
    Faulty("zero, not trained yet", ("a",), static="layer a eps=0.0", severity="warning"),
    Faulty(
        "large beside large variances of a checkpoint",
        ("a",),
        static="layer a eps=0.8 fresh_at_start=False; channels a mean=0.0 var=9.0",
        severity="info",
    ),
    Healthy("Keras' default, not trained yet", static="layer a eps=1e-3"),
    Healthy("just below, not trained yet", static="layer a eps=0.049"),
    Healthy("default, not trained yet", static="layer a; layer b"),
    Healthy("small, above the bound for noise, not trained yet", static="layer a eps=1.1e-10"),
    Healthy("layer norm of a language model, only looked at", static=f"layer a {_LAYER} eps=1e-12"),
    Healthy(
        "default eps and a dead channel of a checkpoint",
        static="layer a fresh_at_start=False; channels a mean=0.0 var=0.0",
    ),
)
