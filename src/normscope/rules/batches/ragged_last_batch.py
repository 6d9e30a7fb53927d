from __future__ import annotations

from collections.abc import Iterator

from normscope.finding import Finding, Measured, Remedy, Severity, Steps
from normscope.probes import thresholds
from normscope.probes.results import Gap
from normscope.record.recording import Call, Event, Layer, Model, Recording, Span
from normscope.rule import Faulty, Healthy, rule

FEW = 3  # values per channel: the measured case of 2 after batches of 32 lost 5.8 points
SOME = 7  # values per channel: a remark up to here
WEIGHT = (
    0.05  # of the last batch in the running statistics, below which one batch cannot spoil them
)

_DROP = Remedy("drop-last", "changes-function", "`DataLoader(..., drop_last=True)`")


@rule("NS302", severity="error", since="0.1.0", explains=("NS408",))
def ragged_last_batch(recording: Recording) -> Iterator[Finding]:
    """The last batch is so short that batch normalization fails or spoils its statistics.

    ## What it checks
    Two things: batch normalization refused a batch with one value per channel; or the last update of the running
    statistics before an evaluation, or before the end, took its statistics from three values per channel or fewer (four to
    seven: info), where batches are usually at least four times larger.

    ## Why it matters
    The remainder of the data set is the last batch of an epoch, so it is what the running statistics
    saw last: with momentum 0.1 a tenth of them comes from it. Measured: a last batch of 2 after batches of 32 brought
    accuracy from 0.985 to 0.927. With one value there is no variance at all, and PyTorch raises an error.

    ## Example
    ```python
    DataLoader(samples, batch_size=32)  # NS302: 1025 samples leave a last batch of 1
    DataLoader(samples, batch_size=32, drop_last=True)
    ```

    ## Repair
    `drop_last=True` for the training loader, or a batch size that leaves a larger remainder.

    ## Known limits
    Counts values per channel: two images with 8 × 8 positions have 128 and are silent. Silent where the momentum is below
    0.05, or a cumulative average, because one batch then weighs little. Only the first and the last evaluation of every pass are seen.

    ## References
    - PyTorch, *torch.utils.data.DataLoader*. https://docs.pytorch.org/docs/stable/data.html
    - Wu & Johnson, *Rethinking "Batch" in BatchNorm*, 2021, section 3. https://arxiv.org/abs/2105.07576
    """
    refused = recording.events_of("single-value")
    if refused:
        yield _refusal(recording, refused)
    gaps = {g.model: g for g in recording.measurements.get("gap", []) if isinstance(g, Gap)}
    for model in recording.models.values():
        hits = [
            (x, *hit)
            for x in recording.layers.values()
            if x.model == model.id and x.kind == "batch" and (hit := _spoiled(recording, x))
        ]
        if hits:
            yield _finding(recording, model, hits, gaps.get(model.id))


def _refusal(recording: Recording, refused: list[Event]) -> Finding:
    event = refused[0]
    layer = recording.layers.get(event.layer) if event.layer is not None else None
    name = f"`{layer.path or layer.type}`" if layer else "A batch norm"
    model = layer.model if layer else event.model
    usual = _usual(recording, layer) if layer else None
    where = f" at {event.site}" if event.site else ""
    before = (
        f" Its batches usually hold {usual[0]} samples: the data leaves a remainder of 1. Use `drop_last=True` in the training "
        "loader; if this was a prediction, call `eval()` on the model first."
        if usual and usual[0] > 1
        else " Use batches of two samples or more, or GroupNorm; if this was a prediction, call `eval()` on the model first."
    )
    crashed = bool(recording.events_of("crash")) or recording.status.startswith("exception")
    return Finding(
        f"{name} was given 1 value per channel in training mode{where} and refused it (step {event.step}).{before}",
        severity="error" if crashed else "warning",
        confidence="high",
        model=recording.models[model].name if model in recording.models else "",
        layers=(layer.path,) if layer else (),
        site=event.site,
        steps=Steps(event.step, refused[-1].step, len(refused)),
        measured=(Measured("values per channel", 1.0, "values", low=2.0),),
        repairs=(_DROP,),
    )


def _usual(recording: Recording, layer: Layer) -> tuple[int, int] | None:
    """Samples and values of the most frequent updating training forward."""
    seen: dict[tuple[int, int], int] = {}
    for span, _, call in recording.calls(layer.id, "training"):
        if call.updates and call.samples:  # else the batch's size is not known
            key = (call.samples, call.values)
            seen[key] = seen.get(key, 0) + span.forwards
    return max(seen, key=lambda k: seen[k]) if seen else None


def _spoiled(recording: Recording, layer: Layer) -> tuple[Call, tuple[int, int], int, bool] | None:
    """The last small update before an evaluation or the end, the usual size, its step, and whether nothing came later."""
    usual = _usual(recording, layer)
    if usual is None:
        return None
    updates = [
        (span, call, i)
        for i, (span, _, call) in enumerate(recording.calls(layer.id))
        if call.updates and call.samples and not call.recomputed
    ]
    judged = {
        step
        for span, _, call in recording.calls(layer.id, "inference")
        if not call.batch_stats
        for step in (span.first_step, span.last_step)
    }
    end = recording.steps + 1
    for step in sorted(judged | {end}, reverse=True):
        before = [(_when(s, step), i, s, c) for s, c, i in updates if _when(s, step) is not None]
        if not before:
            continue
        _, _, span, call = max(before, key=lambda item: (item[0] or 0, item[1]))
        weight = call.momentum if call.momentum is not None else 0.0
        few = call.values <= SOME and usual[1] >= 4 * call.values
        if few and weight >= WEIGHT:
            return call, usual, span.last_step, step >= max(judged, default=end)
    return None


def _when(span: Span, step: int) -> int | None:
    """The latest forward of the span, in steps done, that ran before an evaluation at `step`; None: it had none.

    A training forward at s steps done makes step s + 1, so an evaluation at `step` follows those at step − 1.
    """
    latest = step - 1 if span.kind == "training" else step
    return None if span.first_step > latest else min(span.last_step, latest)


def _finding(
    recording: Recording,
    model: Model,
    hits: list[tuple[Layer, Call, tuple[int, int], int, bool]],
    gap: Gap | None,
) -> Finding:
    least = min(hits, key=lambda h: h[1].values)
    layer, call, usual, step, final = least
    severity: Severity = "error" if call.values <= FEW else "info"
    calm = gap is not None and thresholds.staleness(gap) is None
    if severity == "error" and (calm or not final):
        severity = "info" if calm and final else "warning"
    total = _remainder(recording, layer)
    rest = f" ({total} samples in batches of {usual[0]})" if total else ""
    measured_calm = " Here the measured gap shows no loss by it." if calm else ""
    return Finding(
        f"The last update before {'the final' if final else 'an'} evaluation of `{model.name}` came from a batch of {call.samples}{rest}: "
        f"{call.values} values per channel instead of {usual[1]} set {call.momentum or 0:.0%} of the running "
        f"statistics of {len(hits)} {'layer' if len(hits) == 1 else 'layers'}.{measured_calm} Use `drop_last=True` in the training loader.",
        severity=severity,
        confidence="high" if final else "medium",
        model=model.name,
        layers=tuple(h[0].path for h in hits),
        steps=Steps(step, step, 1),
        measured=(
            Measured("values per channel in the last update", call.values, "values", low=SOME + 1),
        ),
        repairs=(_DROP,),
    )


def _remainder(recording: Recording, layer: Layer) -> int | None:
    """The size of the data set, when every epoch was full batches and then one short one."""
    spans = [
        (s.forwards, c.samples)
        for s, _, c in recording.calls(layer.id, "training")
        if c.updates and not c.recomputed
    ]
    if len(spans) < 2:
        return None
    (full, size), (short, rest) = spans[0], spans[1]
    regular = all(spans[i] == spans[i % 2] for i in range(len(spans)))
    return full * size + rest if regular and short == 1 and rest < size else None


CASES = (
    Faulty(
        "refused",
        ("a",),
        story="layer a; train a x31; event single-value layer=a step=31; event crash step=31",
        severity="error",
    ),
    Faulty(
        "two of 32 before the evaluation",
        ("a",),
        story="layer a; train a x31; train a batch=2; infer a mode=eval x4 scored=4; train a x31; train a batch=2; "
        "infer a mode=eval x4 scored=4",
        severity="error",
    ),
    Faulty(
        "two of 32 at the end",
        ("a",),
        story="layer a; train a x31; train a batch=2",
        severity="error",
    ),
    Faulty("five of 32", ("a",), story="layer a; train a x31; train a batch=5", severity="info"),
    Healthy(
        "ten of 64", story="layer a; train a batch=64 x31; train a batch=10; infer a mode=eval"
    ),
    Healthy(
        "two images, but many positions",
        story="layer a; train a values=2048 x31; train a batch=2 values=128; infer a mode=eval",
    ),
    Healthy("small from the start", story="layer a; train a batch=2 x99; infer a mode=eval"),
    Healthy(
        "the short batch is followed by others",
        story="layer a; train a x31; train a batch=2; train a x31; infer a mode=eval x4",
    ),
    Healthy(
        "small weight",
        story="layer a momentum=0.01; train a x31; train a batch=2; infer a mode=eval x4",
    ),
    Healthy(
        "recomputed before the evaluation",
        story="layer a; train a x31; train a batch=2; infer a momentum=None x20 then=evaluation; infer a mode=eval",
    ),
    Healthy(
        "a short batch in evaluation mode only",
        story="layer a; train a x31; infer a mode=eval x9; infer a mode=eval batch=2",
    ),
)
