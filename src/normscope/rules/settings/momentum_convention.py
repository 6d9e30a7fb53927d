from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from normscope import statistics
from normscope.concepts.wording import named
from normscope.evidence import Facts
from normscope.finding import SEVERITIES, Finding, Measured, Remedy, Severity, Steps
from normscope.probes import thresholds
from normscope.probes.observations import OwnStatistics, own_statistics
from normscope.probes.results import Gap, LayerGap, Reading, gap_of
from normscope.record.recording import Call, Layer, Recording, Span
from normscope.rule import Faulty, Healthy, rule

HIGH = 0.9  # here the average is worth 1.2 batches or less; anything up to 0.5 is in honest use
# In Keras' sense 0.5 or less: numbers that PyTorch's momentum has, while honest ones there are 0.8 to 0.999.
KERAS = 0.5
LONG = 20  # training steps; below it is a trial of the script
NOISY = 0.1  # standard deviation of a running mean, in those of a value


def by_settings(facts: Facts) -> Iterator[Finding]:
    """Without a run: an error is certain only with one, for a layer that is never trained keeps its statistics."""
    groups: dict[float, list[Layer]] = {}
    for layer in facts.layers:
        inverted = layer.momentum is not None and layer.momentum >= bound(facts.framework)
        if layer.kind == "batch" and layer.tracks and (inverted or layer.momentum == 0):
            groups.setdefault(layer.momentum or 0.0, []).append(layer)
    for momentum, layers in groups.items():
        names = named(layers)
        yield Finding(
            f"{names} {'has' if len(layers) == 1 else 'have'} momentum={momentum:g}, in PyTorch the weight of the new batch: "
            f"once trained, {consequence(momentum)}. Use momentum={meant(momentum):g}.",
            severity="warning" if momentum >= HIGH else "info",
            confidence="medium",
            layers=tuple(x.path for x in layers),
            measured=(
                Measured("momentum", momentum, "weight of the new batch", low=0.001, high=0.5),
                *worth(momentum),
            ),
            repairs=(Remedy("set momentum", "changes-function", f"momentum={meant(momentum):g}"),),
        )


@rule(
    "NS201",
    severity="error",
    since="0.1.0",
    explains=("NS202", "NS404", "NS406", "NS408", "NS503", "NS506", "NS601"),
    static=by_settings,
)
def momentum_convention(recording: Recording) -> Iterator[Finding]:
    r"""The momentum of a batch norm is inverted or extreme, so its running statistics are no average.

    ## What it checks
    Layers whose last training forwards normalized with batch statistics and used a momentum of 0.9 or more, or of
    exactly 0, and whether evaluation then used the running statistics. In Keras, where the number is the weight of the old average: 0.5 or less, or 1. Of a layer of your own that keeps an average by itself, the weight
    is measured: training forwards are repeated on one batch at the end, and each leaves $1-\alpha$ of the movement before.

    ## Why it matters
    PyTorch's momentum is the weight $\alpha$ of the *new* batch, Keras' and TensorFlow's that of the old average. An average is worth
    $(2-\alpha)/\alpha$ batches: 19 for 0.1 and 1.02 for a copied 0.99, so evaluation normalizes with the
    statistics of the last batch; a PyTorch number such as 0.3 in Keras keeps 1.9 batches. With PyTorch's 0 the statistics never leave mean 0 and
    variance 1.

    ## Example
    ```python
    nn.BatchNorm2d(64, momentum=0.99)  # Keras' default: keeps 1 % of the old statistics
    nn.BatchNorm2d(64, momentum=0.01)  # what it means in PyTorch
    ```

    ## Repair
    `1 - momentum` for a value that comes from Keras, else the default 0.1. `momentum=None` averages all batches alike.

    ## Known limits
    Judged by the momentum of the last training forward, so schedules that end low are silent, as are statistics recomputed after
    training. Where the gap probe found that the running statistics cost nothing, it is a warning, and an info when the batches are so
    large that one is enough, or where the weight of the new batch is below 0.9 (Keras' 0.1 to 0.5). Layers that are never evaluated with stored statistics give an info. Where no training was
    observed, an inverted momentum is a warning and 0 an info: frozen layers have it on purpose. An average kept by hand is known by tensors
    of one size that begin as 0 and 1, that evaluation normalizes with and training does not; silent for others, and an info where it is never used.

    ## References
    - https://docs.pytorch.org/docs/stable/generated/torch.nn.BatchNorm2d.html
    - https://keras.io/api/layers/normalization_layers/batch_normalization/
    - Wu & Johnson, *Rethinking "Batch" in BatchNorm*, 2021, section 3. https://arxiv.org/abs/2105.07576
    """
    groups: dict[tuple[int, float], list[Use]] = {}
    for layer in recording.layers.values():
        if use := use_of(recording, layer):
            groups.setdefault((layer.model, use.momentum), []).append(use)
    for (model, momentum), uses in groups.items():
        severities: list[Severity] = [u.severity(recording) for u in uses]
        severity = max(severities, key=SEVERITIES.index)
        layers = [u.layer for u in uses]
        names = named(layers)
        yield Finding(
            f"{names} {'has' if len(layers) == 1 else 'have'} momentum={momentum:g}, in PyTorch the weight of the new batch: "
            f"{consequence(momentum)}{', and evaluation used them' if any(u.evaluated for u in uses) else ''}. "
            f"Use momentum={meant(momentum):g}.",
            severity=severity,
            confidence="high" if severity == "error" else "medium",
            model=recording.models[model].name,
            layers=tuple(x.path for x in layers),
            site=layers[0].site,
            steps=Steps(uses[0].first, uses[0].last, uses[0].steps),
            measured=(
                Measured("momentum", momentum, "weight of the new batch", low=0.001, high=0.5),
                *worth(momentum),
            ),
            repairs=(Remedy("set momentum", "changes-function", f"momentum={meant(momentum):g}"),),
        )
    yield from written_by_hand(recording)


def written_by_hand(recording: Recording) -> Iterator[Finding]:
    """Layers of the user's own, whose weight of a new batch was measured."""
    groups: dict[tuple[int, str], list[OwnStatistics]] = {}
    for own in own_statistics(recording.measurements.get("own_statistics", ())):
        if round(own.momentum, 3) >= HIGH and own.steps >= LONG:
            groups.setdefault((own.model, own.name), []).append(own)
    for (model, name), layers in groups.items():
        gap = gap_of(recording.measurements.get("gap", ()), model)
        momentum = layers[0].momentum
        noisy = statistics.sd_of_running_mean(min(momentum, 1.0), max(layers[0].samples, 1)) > NOISY
        stale = bool(gap) and thresholds.staleness(gap) in ("warning", "error")
        evaluated = any(x.evaluations for x in layers)
        severity: Severity = (
            "error" if evaluated and stale else "warning" if evaluated and noisy else "info"
        )
        names = named(layers)
        yield Finding(
            f"The running average that {names} {'keeps' if len(layers) == 1 else 'keep'} by hand gives a new batch the weight {momentum:.3g} "
            f"(measured): {consequence(min(momentum, 1.0))}{', and evaluation used them' if evaluated else ''}. "
            f"Give the history that weight, and the batch {meant(round(momentum, 3)):g}.",
            severity=severity,
            confidence="high" if severity == "error" else "medium",
            model=name,
            layers=tuple(x.path for x in layers),
            measured=(
                Measured("momentum", momentum, "weight of the new batch", low=0.001, high=0.5),
                *worth(min(momentum, 1.0)),
            ),
            repairs=(
                Remedy(
                    "exchange the weights",
                    "changes-function",
                    "running = (1 - momentum) * running + momentum * batch",
                ),
            ),
        )


@dataclass(frozen=True, slots=True)
class Use:
    """How one layer with such a momentum was trained and evaluated."""

    layer: Layer
    momentum: float
    samples: int
    first: int
    last: int
    steps: int
    evaluated: bool  # with stored statistics, after training began
    only_batches: bool  # inference took place, and always with batch statistics

    def severity(self, recording: Recording) -> Severity:
        if self.only_batches:
            return "info"
        if not self.evaluated:
            blamed = self.steps >= LONG and self.noisy and not self.moderate
            return "warning" if blamed else "info"
        gap = gap_of(recording.measurements.get("gap", ()), self.layer.model)
        if self.momentum == 0 or (gap and thresholds.staleness(gap) in ("warning", "error")):
            return "error"
        if self.moderate:
            return "warning" if self.noisy and not gap else "info"
        if gap:
            return "warning" if self.noisy else "info"
        return "error" if self.noisy else "warning"

    @property
    def moderate(self) -> bool:
        """An average of a few batches, which some choose: only measured harm makes it a fault."""
        return KERAS <= self.momentum < HIGH

    @property
    def noisy(self) -> bool:
        """Whether such an average wanders from batch to batch, samples taken as independent."""
        return (
            not self.momentum or statistics.sd_of_running_mean(self.momentum, self.samples) > NOISY
        )


def use_of(recording: Recording, layer: Layer) -> Use | None:
    """The layer's use when it was trained with an extreme momentum to the end, else None."""
    training = [(s, c) for s, _, c in recording.calls(layer.id, "training") if c.batch_stats]
    if not layer.tracks or not training:
        return None
    span, call = max(training, key=lambda sc: sc[0].last_step)
    if call.momentum is None or 0 < call.momentum < bound(recording.framework):
        return None
    if call.momentum == 0 and not (layer.fresh_at_start and layer.fresh_at_end is not False):
        return None  # keeps statistics that came from elsewhere
    if call.momentum and not call.updates:
        return None
    inference = [(s, c) for s, _, c in recording.calls(layer.id, "inference")]
    if any(recomputes(s, c, span) for s, c in inference):
        return None
    first = min(s.first_step for s, _ in training)
    evaluated = any(not c.batch_stats and s.last_step > first for s, c in inference)
    return Use(
        layer,
        call.momentum,
        max(call.samples, 1),
        first,
        span.last_step,
        sum({id(s): s.steps for s, _ in training}.values()),
        evaluated,
        bool(inference) and all(c.batch_stats for _, c in inference),
    )


def bound(framework: str) -> float:
    """From this weight of the new batch on a momentum looks like one of the other convention."""
    return KERAS if framework == "keras" else HIGH


def recomputes(span: Span, call: Call, trained: Span) -> bool:
    """Whether a pass after training put better statistics in place."""
    averages = call.momentum is None or 0 < call.momentum < HIGH
    return call.updates and averages and span.last_step > trained.last_step


def consequence(momentum: float) -> str:
    if momentum == 0:
        return "the running statistics never leave mean 0 and variance 1"
    batches = statistics.averaged_batches(momentum)
    return f"the running statistics are worth {batches:.3g} batch{'es' if batches > 1 else ''}"


def worth(momentum: float) -> tuple[Measured, ...]:
    if momentum == 0:
        return ()
    return (Measured("batches averaged", statistics.averaged_batches(momentum), "batches", low=3),)


def meant(momentum: float) -> float:
    """The PyTorch value that was probably meant."""
    return round(1 - momentum, 6) if KERAS < momentum < 1 else 0.1


_STALE = Gap(model=0, name="Net", measure="error", unit="1", samples=1440, batches=45,
    batch=Reading(0.0, 0.0), population=Reading(0.01, 0.002), running=Reading(0.08, 0.002),
    stale=Reading(0.07, 0.004), inconsistent=Reading(0.01, 0.01), layers=(LayerGap(0, "a", 0.3, 0.2, 0.05, 1.0),))  # fmt: skip
_CALM = Gap(model=0, name="Net", measure="error", unit="1", samples=1440, batches=45,
    batch=Reading(0.01, 0.0), population=Reading(0.01, 0.002), running=Reading(0.01, 0.002),
    stale=Reading(0.0, 0.004), inconsistent=Reading(0.0, 0.01))  # fmt: skip


def _own(
    momentum: float, *, samples: int = 32, evaluations: int = 4, steps: int = 200
) -> OwnStatistics:
    return OwnStatistics(
        model=0,
        name="Net",
        path="a",
        buffers=("mean", "var"),
        channels=8,
        momentum=momentum,
        fresh=False,
        samples=samples,
        evaluations=evaluations,
        steps=steps,
    )


CASES = (
    Faulty(
        "copied from Keras",
        ("a", "b"),
        story="layer a momentum=0.99; layer b momentum=0.99; train a,b x200; infer a,b mode=eval x4",
        severity="error",
    ),
    Faulty(
        "measured",
        ("a",),
        story="layer a momentum=0.9; train a batch=512 x200; infer a mode=eval x4",
        measured={"gap": _STALE},
        severity="error",
    ),
    Faulty(
        "costs nothing at the end by chance",
        ("a",),
        story="layer a momentum=0.99; train a batch=16 x200; infer a mode=eval",
        measured={"gap": _CALM},
        severity="warning",
    ),
    Faulty(
        "momentum 0",
        ("a",),
        story="layer a momentum=0 fresh_at_end=True; train a updates=False x50; infer a mode=eval",
        severity="error",
    ),
    Faulty(
        "trained without evaluation",
        ("a",),
        story="layer a momentum=0.95; train a x200",
        severity="warning",
    ),
    Faulty(
        "PyTorch's 0.3 in Keras",
        ("a",),
        story="framework keras; layer a momentum=0.7; train a x200; infer a mode=eval x4",
        measured={"gap": _STALE},
        severity="error",
    ),
    Faulty(
        "Keras' 0.5, in small batches, and nothing was measured",
        ("a",),
        story="framework keras; layer a momentum=0.5; train a batch=16 x200; infer a mode=eval",
        severity="warning",
    ),
    Healthy(
        "Keras' 0.5 that costs nothing",
        story="framework keras; layer a momentum=0.5; train a batch=16 x200; infer a mode=eval",
        measured={"gap": _CALM},
        at_most="info",
    ),
    Healthy(
        "Keras' 0.8 of published networks, in small batches",
        story="framework keras; layer a momentum=0.2; train a batch=8 x200; infer a mode=eval",
        measured={"gap": _STALE},
    ),
    Healthy("default", story="layer a; train a x200; infer a mode=eval x4"),
    Healthy(
        "the same number in PyTorch, whose convention it is",
        story="layer a momentum=0.7; train a x200; infer a mode=eval x4",
        measured={"gap": _STALE},
    ),
    Healthy(
        "cumulative average", story="layer a momentum=None; train a x200; infer a mode=eval x4"
    ),
    Healthy("rather high", story="layer a momentum=0.5; train a x200; infer a mode=eval x4"),
    Healthy(
        "schedule that ends low",
        story="layer a momentum=0.01; train a momentum=0.9 x20; train a momentum=0.01 x200; infer a mode=eval x4",
    ),
    Healthy(
        "set to 1 only to recompute the statistics",
        story="layer a; train a x200; infer a mode=train momentum=1.0 x5; infer a mode=eval x4",
    ),
    Healthy(
        "recomputed after training",
        story="layer a momentum=0.99; train a x200; infer a mode=train momentum=None x20; infer a mode=eval",
    ),
    Healthy(
        "always batch statistics",
        story="layer a momentum=1.0; train a x200; infer a mode=train momentum=1.0 x5",
        at_most="info",
    ),
    Healthy(
        "no running statistics",
        story="layer a momentum=0.99 tracks=False; train a x200; infer a mode=train x4",
    ),
    Healthy(
        "pretrained statistics kept on purpose",
        story="layer a momentum=0 fresh_at_start=False; train a x200; infer a mode=eval",
    ),
    Healthy("never in training", story="layer a momentum=0.99; infer a mode=eval x5"),
    Healthy(
        "trained with stored statistics",
        story="layer a momentum=0.99 fresh_at_start=False; train a mode=eval x50; infer a mode=eval x5",
    ),
    Healthy(
        "whole data set as one batch",
        story="layer a momentum=1.0; train a batch=2708 x200; infer a mode=eval x5",
        measured={"gap": _CALM},
        at_most="info",
    ),
    Healthy(
        "three steps to see whether the script runs",
        story="layer a momentum=0.99; train a x3",
        at_most="info",
    ),
    Faulty(
        "weights of a hand-written average exchanged",
        ("a",),
        story="layer a; train a x200; infer a mode=eval",
        measured={"own_statistics": _own(0.9), "gap": _STALE},
        severity="error",
    ),
    Faulty(
        "the same, at no cost by chance",
        ("a",),
        story="layer a; train a x200; infer a mode=eval",
        measured={"own_statistics": _own(0.95), "gap": _CALM},
        severity="warning",
    ),
    Healthy(
        "a hand-written average that remembers",
        story="layer a; train a x200; infer a mode=eval",
        measured={"own_statistics": _own(0.5), "gap": _STALE},
    ),
    Healthy(
        "a hand-written average of whole data sets",
        story="layer a; train a x200; infer a mode=eval",
        measured={"own_statistics": _own(1.0, samples=2708), "gap": _CALM},
        at_most="info",
    ),
    Healthy(
        "a hand-written average, never used",
        story="layer a; train a x200; infer a mode=eval",
        measured={"own_statistics": _own(0.9, evaluations=0)},
        at_most="info",
    ),
    Healthy(
        "a trial of the script",
        story="layer a; train a x200; infer a mode=eval",
        measured={"own_statistics": _own(0.9, steps=3), "gap": _STALE},
    ),
    Faulty(
        "copied from Keras, not trained yet",
        ("a", "b"),
        static="layer a momentum=0.99; layer b momentum=0.99",
        severity="warning",
    ),
    Faulty(
        "PyTorch's 0.1 in Keras, not trained yet",
        ("a",),
        static="framework keras; layer a momentum=0.9",
        severity="warning",
    ),
    Healthy(
        "Keras' 0.5, not trained yet",
        static="framework keras; layer a momentum=0.5",
        at_most="info",
    ),
    Healthy("Keras' 0.8, not trained yet", static="framework keras; layer a momentum=0.2"),
    Faulty("momentum 0, not trained yet", ("a",), static="layer a momentum=0", severity="info"),
    Healthy("default, not trained yet", static="layer a; layer b momentum=0.5"),
    Healthy("cumulative average, not trained yet", static="layer a momentum=None"),
    Healthy("no running statistics at all", static="layer a momentum=0.99 tracks=False"),
    Healthy("a norm without momentum", static="layer a kind='group' tracks=False momentum=None"),
)
