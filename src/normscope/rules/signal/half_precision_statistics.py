from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from normscope.concepts.wording import named
from normscope.evidence import Facts
from normscope.finding import Finding, Measured, Remedy, Severity
from normscope.probes import thresholds
from normscope.probes.results import Gap, Reading, gap_of
from normscope.record.recording import Layer, Recording
from normscope.rule import Faulty, Healthy, rule

# Spacing of the numbers just above 1.
SPACING = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
FAR = 0.25  # standard deviations of the mean, or share of the variance
SHORT = 20  # training steps; below it is a trial of the script


def as_built(facts: Facts) -> Iterator[Finding]:
    """Without a run an info: nobody said that the model is going to be trained as it is."""
    found: list[tuple[Layer, Bound]] = []
    for layer in facts.layers:
        spacing = SPACING.get(layer.dtype)
        if spacing and layer.tracks and layer.fresh_at_start and layer.momentum:
            found.append((layer, Bound(layer.momentum, 0.0, spacing / (2 * layer.momentum))))
    far = [(x, b) for x, b in found if b.size > FAR]
    if far:
        layer, worst = max(far, key=lambda f: f[1].size)
        layers = [x for x, _ in far]
        names = named(layers)
        yield Finding(
            f"The running statistics of {names} are kept in {layer.dtype}. Averaged there with weight {worst.momentum:g}, the variance of "
            f"`{layer.path}` stops within {worst.variance:.0%} of what it should become. Keep the norms in float32 if the model is to be trained so.",
            severity="info",
            confidence="medium",
            model=facts.name,
            layers=tuple(x.path for x in layers),
            measured=(Measured("variance: bound on the error", worst.variance, "1", high=FAR),),
            repairs=(_float32(layer.path),),
        )


def _float32(path: str) -> Remedy:
    return Remedy(
        "keep norms in float32", "changes-function", f"model.get_submodule({path!r}).float()"
    )


@rule(
    "NS507",
    severity="error",
    since="0.1.0",
    explains=("NS202", "NS406", "NS408", "NS503", "NS506", "NS601"),
    static=as_built,
)
def half_precision_statistics(recording: Recording) -> Iterator[Finding]:
    r"""The running statistics are averaged in 16 bits, where small updates are rounded away.

    ## What it checks
    Layers that update running statistics stored in float16 or bfloat16. A stored value $m$ stops moving when the update
    $\alpha (b - m)$ is less than half the spacing $s(m)$ of 16-bit numbers there, that is within $s(m) / 2\alpha$ of what it should become. A warning
    when that is more than 0.25 standard deviations for the mean, or more than a quarter of the variance, in the median channel, and an
    error where the gap probe then measures that recomputed statistics do better; else an info.

    ## Why it matters
    With $\alpha = 0.1$ a bfloat16 variance can stay up to 4 % off, which is nothing; with 0.01 up to 39 %, and with 0.002 or less it
    never leaves 1. A mean suffers sooner, because the spacing grows with it: near 290 a bfloat16 has steps of 2, so an average with $\alpha = 0.02$ stops
    up to 50 short. Training does not notice, evaluation does. Measured on digits after 300 steps: at bounds up to 0.08 the statistics were off
    as much as those in float32 (by at most 0.1 standard deviations); at 0.39 by 0.36 and 0.46 against 0.28 and 0.07.

    ## Example
    ```python
    model = model.bfloat16()  # running_mean and running_var as well
    train(model)
    ```

    ## Repair
    Keep the norms in float32 (`bn.float()`: PyTorch takes 16-bit inputs there), or train with `torch.autocast`, which
    leaves buffers alone. After training, recompute the statistics in float32.

    ## Known limits
    Silent for models that are converted after training, whose statistics are then only rounded once, and under autocast. The bound is
    what can be lost; noise between batches helps small updates over the threshold, so the true error is often less.
    Norms that store nothing are not judged: PyTorch computes them in float32. Where only the code was looked at, statistics that are still 0 and 1
    give an info when the variance may stop more than a quarter off (bfloat16 with momentum below 0.016); learned ones none.

    ## References
    - https://docs.pytorch.org/docs/stable/amp.html
    - Micikevicius et al., *Mixed Precision Training*, 2018, section 3.1. https://arxiv.org/abs/1710.03740
    """
    by_model: dict[int, list[tuple[Layer, Bound]]] = {}
    for layer in recording.layers.values():
        if found := bound_of(recording, layer):
            by_model.setdefault(layer.model, []).append((layer, found))
    for model, found in by_model.items():
        layer, worst = max(found, key=lambda f: f[1].size)
        layers = [x for x, _ in found]
        names = named(layers)
        yield Finding(
            f"The running statistics of {names} are averaged in {layer.dtype} with weight {worst.momentum:g}: updates are rounded away "
            f"while the mean of `{layer.path}` is within {worst.mean:.2g} standard deviations and its variance within {worst.variance:.0%} "
            f"of what they should become.{_cost(recording, model)} Keep the norms in float32.",
            severity=_severity(recording, worst, layers),
            confidence="high",
            model=recording.models[model].name,
            layers=tuple(x.path for x in layers),
            site=layer.site,
            measured=(
                Measured("mean: bound on the error", worst.mean, "standard deviations", high=FAR),
                Measured("variance: bound on the error", worst.variance, "1", high=FAR),
            ),
            repairs=(_float32(layer.path),),
        )


class Bound(NamedTuple):
    """How far from their goal running statistics may stop, in the median channel."""

    momentum: float
    mean: float  # standard deviations
    variance: float  # share

    @property
    def size(self) -> float:
        return max(self.mean, self.variance)


def bound_of(recording: Recording, layer: Layer) -> Bound | None:
    """The bound for a layer that averaged in 16 bits while it trained; None for all others."""
    spacing = SPACING.get(layer.dtype)
    if spacing is None or not layer.updates:
        return None
    training = [c for _, _, c in recording.calls(layer.id, "training") if c.updates]
    if not training or not (alpha := training[-1].momentum):
        return None  # a cumulative average, or none
    known = recording.channels.get(layer.id)
    if known is None or not known.running_var.size:
        return Bound(alpha, 0.0, spacing / (2 * alpha))
    mean = short_of(known.running_mean, spacing, alpha)
    variance = short_of(known.running_var, spacing, alpha)
    with np.errstate(all="ignore"):
        in_sd = np.nanmedian(mean / np.sqrt(known.running_var + layer.eps))
        share = np.nanmedian(variance / known.running_var)
    return Bound(alpha, float(in_sd), float(share))


def short_of(values: NDArray[np.float64], spacing: float, alpha: float) -> NDArray[np.float64]:
    """The distance at which an average with weight `alpha` stops: half of the spacing at `values`, over `alpha`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        exponent = np.floor(np.log2(np.abs(values)))
    return np.where(np.isfinite(exponent), 2.0**exponent * spacing, 0.0) / (2 * alpha)


def _severity(recording: Recording, worst: Bound, layers: list[Layer]) -> Severity:
    spans = {id(s): s.steps for x in layers for s, _, _ in recording.calls(x.id, "training")}
    if worst.size <= FAR or max(spans.values(), default=0) < SHORT:
        return "info"
    return "error" if _measured(recording, layers[0].model) else "warning"


def _measured(recording: Recording, model: int) -> Gap | None:
    """The probe's answer where it says that recomputed statistics do better."""
    gap = gap_of(recording.measurements.get("gap", ()), model)
    return gap if gap and thresholds.staleness(gap) in ("warning", "error") else None


def _cost(recording: Recording, model: int) -> str:
    gap = _measured(recording, model)
    return (
        f" Recomputed statistics do better by {gap.stale.value:.3g} {gap.measure}." if gap else ""
    )


def _gap(stale: float) -> dict[str, object]:
    return {"gap": Gap(model=0, name="Net", measure="error", unit="1", samples=1440, batches=45,
        batch=Reading(0.0, 0.0), population=Reading(0.01, 0.002), running=Reading(0.01 + stale, 0.002),
        stale=Reading(stale, 0.004), inconsistent=Reading(0.01, 0.01))}  # fmt: skip


CASES = (
    Faulty(
        "bfloat16 with a slow average",
        ("a",),
        story="layer a dtype=bfloat16 momentum=0.01; train a x100; infer a mode=eval",
        severity="warning",
    ),
    Faulty(
        "and it costs",
        ("a",),
        story="layer a dtype=bfloat16 momentum=0.01; train a x100; infer a mode=eval",
        measured=_gap(0.1),
        severity="error",
    ),
    Faulty(
        "fast average beside a gap that it cannot make",
        ("a",),
        story="layer a dtype=bfloat16; train a x100; infer a mode=eval",
        measured=_gap(0.1),
        severity="info",
    ),
    Faulty(
        "float16 with a very slow average",
        ("a",),
        story="layer a dtype=float16 momentum=0.001; train a x100",
        severity="warning",
    ),
    Faulty(
        "means far from 0",
        ("a",),
        story="layer a dtype=bfloat16 momentum=0.05; train a x100; channels a mean=290.0 var=100.0",
        severity="warning",
    ),
    Faulty(
        "default momentum",
        ("a", "b"),
        story="layer a dtype=bfloat16; layer b dtype=bfloat16; train a,b x100; channels a mean=1.0 var=1.0",
        severity="info",
    ),
    Faulty(
        "float16, default momentum",
        ("a",),
        story="layer a dtype=float16; train a x100",
        severity="info",
    ),
    Faulty(
        "ten steps",
        ("a",),
        story="layer a dtype=bfloat16 momentum=0.001; train a x10",
        severity="info",
    ),
    Healthy("float32", story="layer a momentum=0.001; train a x100; channels a mean=290.0 var=1.0"),
    Healthy("float64", story="layer a dtype=float64 momentum=0.001; train a x100"),
    Healthy(
        "converted after training, for inference",
        story="layer a dtype=float16 fresh_at_start=False; infer a mode=eval x10",
    ),
    Healthy(
        "fine-tuned with frozen statistics in 16 bits",
        story="layer a dtype=bfloat16 momentum=0.01 fresh_at_start=False; train a mode=eval x100",
    ),
    Healthy("momentum 0", story="layer a dtype=bfloat16 momentum=0; train a updates=False x100"),
    Healthy("cumulative average", story="layer a dtype=bfloat16 momentum=None; train a x100"),
    Healthy("dtype unknown", story="layer a dtype= momentum=0.001; train a x100"),
    Healthy("never trained", story="layer a dtype=bfloat16; infer a mode=train momentum=0.01 x100"),
    Healthy(
        "no running statistics",
        story="layer a dtype=bfloat16 tracks=False; train a x100",
    ),
    Faulty(
        "bfloat16 and a slow average, not trained yet",
        ("a",),
        static="layer a dtype=bfloat16 momentum=0.01",
        severity="info",
    ),
    Healthy("bfloat16 and the usual average, not trained yet", static="layer a dtype=bfloat16"),
    Healthy("just fast enough, not trained yet", static="layer a dtype=bfloat16 momentum=0.016"),
    Healthy(
        "learned elsewhere and converted",
        static="layer a dtype=bfloat16 momentum=0.01 fresh_at_start=False",
    ),
    Healthy("float32, not trained yet", static="layer a momentum=0.001"),
    Healthy(
        "no statistics, only looked at", static="layer a dtype=bfloat16 tracks=False momentum=None"
    ),
)
