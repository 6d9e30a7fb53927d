from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from normscope import statistics
from normscope.concepts.recalibration import recalibrated
from normscope.concepts.wording import named
from normscope.finding import SEVERITIES, Finding, Measured, Remedy, Severity, Steps
from normscope.probes import thresholds
from normscope.probes.results import Gap, LayerGap, Reading, gap_of
from normscope.record.recording import Call, Layer, Recording, Span
from normscope.rule import Faulty, Healthy, rule

LEFT = 0.01  # share of the initial value that counts as gone
DEFAULT = 0.1  # momentum of PyTorch: the advice is never below it
LONG = 100  # training steps; after fewer a run without evaluation was a trial of the script


@rule("NS202", severity="error", since="0.1.0", explains=("NS408", "NS503", "NS506", "NS601"))
def slow_running_average(recording: Recording) -> Iterator[Finding]:
    r"""The running statistics still hold much of their initial mean 0 and variance 1.

    ## What it checks
    Layers whose running statistics began at 0 and 1: how much of that is left, $(1-\alpha)^t$ after $t$ updates with
    momentum $\alpha$, at each evaluation and at the end. More than 1 % counts.

    ## Why it matters
    Evaluation then normalizes with a mixture of the data's statistics and arbitrary ones, in every layer, while training is
    untouched. Below 1 % takes 44 updates with momentum 0.1, 459 with 0.01 and 4603 with 0.001. Measured on
    digits at momentum 0.001 after 66 steps: 17 % test accuracy, where 0.1 gives 98 %.

    ## Example
    ```python
    nn.BatchNorm2d(64, momentum=0.001)  # 4603 updates until the initial values are gone
    nn.BatchNorm2d(64, momentum=0.1)  # the default: 44 updates
    ```

    ## Repair
    Recompute the statistics from training data before evaluating, or use a larger momentum,
    or train longer. `momentum=None` forgets them at once, but remembers the first batches, which other weights saw, as well as the last:
    measured on digits after 66 steps, test loss 0.48 against 0.11 with momentum 0.1.

    ## Known limits
    An error only where the gap probe measured a loss; where it measured none, an info. Evaluations early in a run that goes on
    long enough give an info, and so do runs that were cut short or not observed to their end, and short runs that never evaluate. Statistics that
    came from a checkpoint are not judged: their initial value is data.

    ## References
    - Wu & Johnson, *Rethinking "Batch" in BatchNorm*, 2021, section 3. https://arxiv.org/abs/2105.07576
    - https://docs.pytorch.org/docs/stable/generated/torch.nn.BatchNorm2d.html
    """
    by_model: dict[int, list[Remainder]] = {}
    for layer in recording.layers.values():
        if left := remainder(recording, layer):
            by_model.setdefault(layer.model, []).append(left)
    for model, all_left in by_model.items():
        judged: dict[Severity, list[Remainder]] = {}
        for left in all_left:
            if severity := judge(recording, left):
                judged.setdefault(severity, []).append(left)
        if judged:
            severity = max(judged, key=SEVERITIES.index)
            yield finding(recording, model, severity, judged[severity])


def finding(
    recording: Recording, model: int, severity: Severity, found: list[Remainder]
) -> Finding:
    worst = max(found, key=lambda x: x.shown)
    layers = [x.layer for x in found]
    names = named(layers)
    need = statistics.updates_to_forget(worst.momentum, LEFT)
    when, step = worst.moment
    return Finding(
        f"{when} (step {step}) {worst.shown:.0%} of the initial mean 0 and variance 1 {'was' if severity == 'info' else 'is'} "
        f"left in the running statistics of {names}: momentum {worst.momentum:g} takes {need} updates to forget them, "
        f"and there had been {worst.updates_shown}. Recompute the statistics before evaluating.",
        severity=severity,
        confidence="high" if severity == "error" else "medium",
        model=recording.models[model].name,
        layers=tuple(x.path for x in layers),
        site=layers[0].site,
        steps=Steps(step, step, 1),
        measured=(
            Measured("weight of the initial statistics", worst.shown, "1", high=LEFT),
            Measured("updates", worst.updates_shown, "updates", low=need),
        ),
        repairs=(
            recalibrated(),
            Remedy("set momentum", "changes-function", f"momentum={enough(worst):g}"),
        ),
    )


def enough(left: Remainder) -> float:
    """A momentum that would have forgotten them by then: the default, or a larger one in short runs."""
    return max(DEFAULT, statistics.momentum_to_forget(max(left.updates_shown, 1), LEFT))


@dataclass(frozen=True, slots=True)
class Remainder:
    """What is left of one layer's initial statistics, at its evaluations (None: there was none) and at the end."""

    layer: Layer
    momentum: float
    steps: int  # training steps it took part in
    end: float
    updates: float
    first: (
        tuple[int, float, float] | None
    )  # of the first evaluation after an update: step, weight, updates
    last: tuple[int, float, float] | None
    to_the_end: bool = True  # it was observed to the end of the run

    @property
    def settled(self) -> bool:
        return self.end <= LEFT

    @property
    def _told(self) -> tuple[int, float, float] | None:
        return self.first if self.settled else self.last

    @property
    def shown(self) -> float:
        return self._told[1] if self._told else self.end

    @property
    def updates_shown(self) -> int:
        return round(self._told[2] if self._told else self.updates)

    @property
    def moment(self) -> tuple[str, int]:
        if self._told is None:
            return "At the end" if self.to_the_end else "When observing ended", self.steps
        return (
            "At the first evaluation" if self.settled else "At the last evaluation"
        ), self._told[0]


def judge(recording: Recording, left: Remainder) -> Severity | None:
    if left.settled:
        return "info" if left.first and left.first[1] > LEFT else None
    gap = gap_of(recording.measurements.get("gap", ()), left.layer.model)
    cost = thresholds.staleness(gap) if gap else None
    if cost in ("error", "warning"):
        return "error"
    if (gap and cost is None) or not left.to_the_end:
        return "info"
    return "warning" if left.last or left.steps >= LONG else "info"


def remainder(recording: Recording, layer: Layer) -> Remainder | None:
    """None for a layer whose statistics are no exponential average, or began at something else, or never moved."""
    if not layer.tracks or not layer.fresh_at_start or not layer.momentum:
        return None
    updating = [(s, c) for s, _, c in recording.calls(layer.id) if c.updates]
    if not updating or layer.updates == 0 or any(c.momentum is None for _, c in updating):
        return None
    evaluations = [s for s, _, c in recording.calls(layer.id, "inference") if not c.batch_stats]
    moments = sorted({step for s in evaluations for step in (s.first_step, s.last_step)})
    seen = [(step, *left_at(updating, step)) for step in moments]
    seen = [told for told in seen if told[2] >= 1]
    end, updates = left_at(updating, recording.steps)
    if layer.updates > updates:  # buffers moved in calls that were not seen, as in compiled models
        end, updates = (
            end * statistics.initial_weight(layer.momentum, layer.updates - updates),
            layer.updates,
        )
    training = {id(s): s.steps for s, _ in updating if s.kind == "training"}
    return Remainder(
        layer,
        layer.momentum,
        sum(training.values()),
        end,
        updates,
        seen[0] if seen else None,
        seen[-1] if seen else None,
        recording.status.startswith("exit") and not recording.events_of("stopped"),
    )


def left_at(updating: list[tuple[Span, Call]], step: int) -> tuple[float, float]:
    """Weight of the initial value and number of updates when `step` steps were done."""
    counts = [(done(span, step), call.momentum or 0.0) for span, call in updating]
    weight = prod(statistics.initial_weight(momentum, n) for n, momentum in counts)
    return weight, sum(n for n, _ in counts)


def done(span: Span, step: int) -> float:
    """How many of the span's forwards had run, taken as evenly spread over its steps."""
    if span.kind == "inference":
        return span.forwards if span.first_step <= step else 0
    share = (step - span.first_step) / (span.last_step - span.first_step + 1)
    return span.forwards * min(max(share, 0.0), 1.0)


def _gap(stale: float) -> dict[str, object]:
    return {"gap": Gap(model=0, name="Net", measure="error", unit="1", samples=1440, batches=45,
        batch=Reading(0.0, 0.0), population=Reading(0.01, 0.002), running=Reading(0.01 + stale, 0.002),
        stale=Reading(stale, 0.004), inconsistent=Reading(0.01, 0.01), layers=(LayerGap(0, "a", 0.3, 0.2, 0.05, 1.0),))}  # fmt: skip


CASES = (
    Faulty(
        "measured",
        ("a", "b"),
        story="layer a momentum=0.001; layer b momentum=0.001; train a,b x66; infer a,b mode=eval",
        measured=_gap(0.6),
        severity="error",
    ),
    Faulty(
        "evaluated too early, probe impossible",
        ("a",),
        story="layer a momentum=0.01; train a x80; infer a mode=eval",
        severity="warning",
    ),
    Faulty(
        "default momentum, ten steps",
        ("a",),
        story="layer a; train a x10; infer a mode=eval",
        severity="warning",
    ),
    Faulty(
        "long enough to be meant, never evaluated",
        ("a",),
        story="layer a momentum=0.001; train a x500",
        severity="warning",
    ),
    Faulty(
        "first evaluation of a long run",
        ("a",),
        story="layer a; train a x20; infer a mode=eval; train a x400; infer a mode=eval",
        severity="info",
    ),
    Healthy("default, long enough", story="layer a; train a x100; infer a mode=eval"),
    Healthy(
        "slow, but long enough", story="layer a momentum=0.01; train a x500; infer a mode=eval"
    ),
    Healthy(
        "pretrained",
        story="layer a momentum=0.001 fresh_at_start=False; train a x20; infer a mode=eval",
    ),
    Healthy("cumulative average", story="layer a momentum=None; train a x5; infer a mode=eval"),
    Healthy(
        "recomputed before the evaluation",
        story="layer a momentum=0.001; train a x66; infer a momentum=None x20; infer a mode=eval",
    ),
    Healthy(
        "evaluated before training only",
        story="layer a; infer a mode=eval; train a x100; infer a mode=eval",
    ),
    Healthy(
        "no running statistics",
        story="layer a tracks=False momentum=0.001; train a x20; infer a mode=train",
    ),
    Healthy("never trained", story="layer a; infer a mode=eval x10"),
    Healthy(
        "costs nothing",
        story="layer a momentum=0.01; train a x80; infer a mode=eval",
        measured=_gap(0.0),
        at_most="info",
    ),
    Healthy(
        "interrupted early",
        story="layer a; train a x10; infer a mode=eval; end signal 2",
        at_most="info",
    ),
    Healthy(
        "not observed to its end",
        story="layer a; train a x10; infer a mode=eval; event stopped step=10",
        at_most="info",
    ),
    Healthy("few steps, never evaluated", story="layer a; train a x5", at_most="info"),
    Healthy(
        "always batch statistics",
        story="layer a; train a x10; infer a mode=train updates=False",
        at_most="info",
    ),
)
