from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from normscope.evidence import Facts
from normscope.finding import Confidence, Finding, Measured, Remedy, Severity, Steps
from normscope.probes import thresholds
from normscope.probes.results import Gap, Reading, gap_of
from normscope.record.recording import Channels, Event, Layer, Recording
from normscope.rule import Faulty, Healthy, rule

BLOW_UP = 10.0  # a loss that grew by this factor was diverging already


def in_the_buffers(facts: Facts) -> Iterator[Finding]:
    """Without a run: what a checkpoint brought along."""
    lost = {x.path: _not_finite(c) for x in facts.layers if (c := facts.stored.get(x.id))}
    lost = {path: channels for path, channels in lost.items() if channels}
    if not lost:
        return
    first, channels = next(iter(lost.items()))
    more = f", and those of {len(lost) - 1} more layers" if len(lost) > 1 else ""
    yield Finding(
        f"The running statistics of `{first}` are not finite in {channels} of its channels{more}: evaluation returns NaN. Reset "
        "and recompute them.",
        severity="error",
        layers=tuple(lost),
        measured=(Measured("layers with non-finite statistics", len(lost), "layers", high=0),),
        repairs=(_reset(first),),
    )


def _not_finite(stored: Channels) -> int:
    return int((~(np.isfinite(stored.running_mean) & np.isfinite(stored.running_var))).sum())


def _reset(path: str) -> Remedy:
    return Remedy(
        "reset the statistics",
        "changes-function",
        f"model.get_submodule({path!r}).reset_running_stats()",
    )


@rule(
    "NS501",
    severity="error",
    since="0.1.0",
    explains=("NS401", "NS408", "NS502", "NS503", "NS504", "NS507", "NS601"),
    static=in_the_buffers,
)
def non_finite_statistics(recording: Recording) -> Iterator[Finding]:
    """Running statistics became infinite or NaN, and an average never gets rid of that.

    ## What it checks
    The first step at which a running mean or variance was not finite, in which layer and channel, and whether the loss
    was finite before and after. And statistics that were finite in every look and are not at the end, after a conversion.

    ## Why it matters
    One batch is enough: $(1-α) · NaN + α · x$ stays NaN for ever, also where a gradient scaler or
    the script skipped that batch's step, because the statistics are stored in the forward pass. Training, which uses
    the batch's own statistics, goes on as if nothing had happened; evaluation returns NaN.

    ## Example
    ```python
    x = torch.log(rows)  # one zero in 10 000 rows: -inf, and the first norm's statistics are lost
    x = torch.log(rows + 1e-2)  # finite
    ```

    ## Repair
    Keep the input of that layer finite (logarithms, divisions, half-precision overflow), check batches *before* the
    forward pass, then reset the statistics (`reset_running_stats()`) and recompute them.

    ## Known limits
    The step is known up to the interval between two looks at the buffers. Where the loss was not finite or had grown tenfold before, training
    diverged and the statistics only show it: a warning. A variance that is infinite because of a
    single value per channel looks the same as an overflow. Layers that were not seen to run give an info, unless the
    gap probe found that their model loses by its running statistics.

    ## References
    - https://docs.pytorch.org/docs/stable/notes/amp_examples.html
    - One report of it: https://github.com/facebookresearch/SparseConvNet/issues/190
    """
    first: dict[int, list[tuple[Layer, Event]]] = {}
    for event in sorted(recording.events_of("nonfinite"), key=lambda e: e.step):
        if event.layer is not None and event.layer in recording.layers:
            layer = recording.layers[event.layer]
            first.setdefault(layer.model, []).append((layer, event))
    for model, events in first.items():
        layers = list({x.id: x for x, _ in events}.values())
        layer, event = events[0]
        severity, confidence, reason = judge(recording, layers, event)
        yield Finding(
            f"The running statistics of `{layer.path}` are not finite {when(event)}"
            f"{f' ({event.detail})' if event.detail else ''}{others(layers)}. {reason}",
            severity=severity,
            confidence=confidence,
            model=recording.models[model].name,
            layers=tuple(x.path for x in layers),
            site=event.site or layer.site,
            steps=Steps(
                event.step if event.since_step is None else event.since_step, event.step, 1
            ),
            measured=(
                Measured("layers with non-finite statistics", len(layers), "layers", high=0),
            ),
            repairs=(_reset(layer.path),),
        )
    told = {x.id for events in first.values() for x, _ in events}
    yield from since_the_last_look(recording, told)


def since_the_last_look(recording: Recording, told: set[int]) -> Iterator[Finding]:
    """Statistics that were finite as long as the run was looked at, and are not at its end: a conversion, an edit."""
    lost: dict[int, list[tuple[Layer, int]]] = {}
    ran = {c.layer for p in recording.patterns.values() for c in p.calls}
    for layer in recording.layers.values():
        stored = recording.channels.get(layer.id) if layer.id in ran - told else None
        if stored is not None and (many := _not_finite(stored)):
            lost.setdefault(layer.model, []).append((layer, many))
    for model, found in lost.items():
        ids = {x.id for x, _ in found}
        used = [
            s.last_step
            for s in recording.spans
            if s.kind == "inference" and s.last_step >= recording.steps
            for c in recording.patterns[s.pattern].calls
            if c.layer in ids and not c.batch_stats
        ]
        layer, many = found[0]
        yield Finding(
            f"After the last step the running statistics of `{layer.path}` became infinite or NaN in {many} of its {layer.channels} "
            f"channels{others([x for x, _ in found])}{', and inference used them' if used else ''}: they were finite in every look before. A conversion "
            "to half precision does that beyond 65504; scale the input of this layer down.",
            severity="error" if used else "warning",
            confidence="high",
            model=recording.models[model].name,
            layers=tuple(x.path for x, _ in found),
            site=layer.site,
            steps=Steps(recording.steps, recording.steps, 1),
            measured=(Measured("layers with non-finite statistics", len(found), "layers", high=0),),
            repairs=(_reset(layer.path),),
        )


def judge(
    recording: Recording, layers: list[Layer], event: Event
) -> tuple[Severity, Confidence, str]:
    ran = {c.layer for p in recording.patterns.values() for c in p.calls}
    gap = gap_of(recording.measurements.get("gap", ()), layers[0].model)
    # A layer that calls the kernel itself is not seen to run, but what it costs is.
    costs = gap is not None and thresholds.staleness(gap) == "error"
    if recording.patterns and not ran & {x.id for x in layers} and not costs:
        return "info", "high", "The layer never ran, so nothing depends on them."
    before, after = losses_around(recording, event)
    if diverging(before):
        return (
            "warning",
            "medium",
            "The loss had diverged before: look for its cause (learning rate, initial weights, data) first.",
        )
    if after.size and np.isfinite(after).any():
        return (
            "error",
            "high",
            "The loss stayed finite: training goes on with batch statistics, evaluation returns NaN. "
            "Keep this layer's input finite and recompute the statistics.",
        )
    return (
        "error",
        "medium" if after.size else "high",
        "The average cannot recover. Find what made this layer's input infinite or NaN, and recompute the statistics.",
    )


def losses_around(recording: Recording, event: Event) -> tuple[np.ndarray, np.ndarray]:
    """The losses up to the last look at finite buffers, and those after the event."""
    if recording.scalars is None:
        return np.empty(0), np.empty(0)
    steps, loss = recording.scalars.steps, recording.scalars.loss
    since = event.step - 1 if event.since_step is None else event.since_step
    return loss[steps <= since], loss[steps > event.step]


def diverging(losses: np.ndarray) -> bool:
    """Whether the last losses were not finite, or far above the first ones."""
    if not losses.size:
        return False
    if not np.isfinite(losses).all():
        return True
    start = float(np.median(np.abs(losses[:10])))
    return losses.size >= 3 and float(np.abs(losses[-3:]).max()) > BLOW_UP * max(start, 1e-12)


def when(event: Event) -> str:
    if event.step == 0:
        return "from step 0 on, before any training"
    if event.since_step is None or event.since_step >= event.step:
        return f"from step {event.step} on"
    return f"since a step between {event.since_step} and {event.step}"


def others(layers: list[Layer]) -> str:
    more = len(layers) - 1
    return f", later also in {more} more layer{'s' if more > 1 else ''}" if more else ""


_EVENT = "event nonfinite step=40 since_step=38 layer=a detail=running_mean[3]"

_LOST = Gap(model=0, name="Net", measure="error", unit="1", samples=2000, batches=32,
    batch=Reading(0.04, 0.003), population=Reading(0.04, 0.003), running=Reading(1.0, 0.0),
    stale=Reading(0.96, 0.004), inconsistent=Reading(0.0, 0.003))  # fmt: skip
_CALM = Gap(model=0, name="Net", measure="error", unit="1", samples=2000, batches=32,
    batch=Reading(0.04, 0.003), population=Reading(0.04, 0.003), running=Reading(0.04, 0.003),
    stale=Reading(0.0, 0.004), inconsistent=Reading(0.0, 0.003))  # fmt: skip

CASES = (
    Faulty(
        "a layer that calls the kernel itself, and the model fails with its statistics",
        ("a",),
        story=f"layer a; layer b; train b x100; {_EVENT}; loss 10 1.2; loss 37 0.9; loss 60 0.5",
        measured={"gap": _LOST},
        severity="error",
    ),
    Healthy(
        "a layer that never ran, and the model loses nothing",
        story=f"layer a; layer b; train b x100; {_EVENT}",
        measured={"gap": _CALM},
        at_most="info",
    ),
    Faulty(
        "one bad batch, loss finite",
        ("a",),
        story=f"layer a; train a x100; {_EVENT}; loss 10 1.2; loss 37 0.9; loss 60 0.5",
        severity="error",
    ),
    Faulty(
        "two layers",
        ("a", "b"),
        story=f"layer a; layer b; train a,b x100; {_EVENT}; event nonfinite step=40 layer=b",
        severity="error",
    ),
    Faulty("loss unknown", ("a",), story=f"layer a; train a x100; {_EVENT}", severity="error"),
    Faulty(
        "loss was NaN before",
        ("a",),
        story=f"layer a; train a x100; {_EVENT}; loss 10 1.2; loss 30 nan; loss 60 nan",
        severity="warning",
    ),
    Faulty(
        "loss grew before",
        ("a",),
        story=f"layer a; train a x100; {_EVENT}; loss 5 1.2; loss 10 1.2; loss 20 1.5; loss 30 7.0; loss 35 4000.0; loss 60 nan",
        severity="warning",
    ),
    Faulty(
        "from a checkpoint",
        ("a",),
        story="layer a; train a x100; event nonfinite step=0 layer=a",
        severity="error",
    ),
    Faulty(
        "finite in training, infinite in half precision",
        ("a",),
        story="layer a; layer b; train a,b x100; infer a,b mode=eval x4; channels a mean=900.0 var=inf; channels b mean=0.0 var=1.0",
        severity="error",
    ),
    Faulty(
        "converted for export only",
        ("a",),
        story="layer a; train a x100; channels a mean=900.0 var=inf",
        severity="warning",
    ),
    Healthy(
        "a copy that never ran",
        story="layer a; layer b; train a x100; infer a mode=eval; channels b mean=900.0 var=inf",
    ),
    Healthy(
        "finite at the end",
        story="layer a; train a x100; infer a mode=eval x4; channels a mean=900.0 var=65000.0",
    ),
    Healthy("finite", story="layer a; train a x100; infer a mode=eval"),
    Healthy("loss NaN, statistics finite", story="layer a; train a x100; loss 10 1.2; loss 30 nan"),
    Healthy(
        "skipped steps of a gradient scaler",
        story="layer a; train a x100; event skipped-step step=3; event skipped-step step=9",
    ),
    Healthy("a crash", story="layer a; train a x10; event crash step=10 detail=ValueError"),
    Healthy(
        "refused a single value", story="layer a; train a x10; event single-value step=10 layer=a"
    ),
    Healthy(
        "layer that never ran", story=f"layer a; layer b; train b x100; {_EVENT}", at_most="info"
    ),
    Healthy("only evaluated", story="layer a; infer a mode=eval"),
    Faulty(
        "a checkpoint with lost channels, only looked at",
        ("a",),
        static="layer a; layer b; channels a mean=nan var=1.0; channels b mean=0.0 var=1.0",
        severity="error",
    ),
    Healthy("finite buffers, only looked at", static="layer a; channels a mean=0.0 var=1.0"),
    Healthy("no buffers, only looked at", static="layer a tracks=False"),
)
