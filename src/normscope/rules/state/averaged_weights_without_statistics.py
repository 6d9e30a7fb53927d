from __future__ import annotations

from collections.abc import Iterator

from normscope.concepts.recalibration import recalibrated
from normscope.finding import Finding, Measured, Severity, Steps
from normscope.probes import thresholds
from normscope.probes.results import Gap, Reading, gap_of
from normscope.record.recording import Layer, Model, Recording, Span
from normscope.rule import Faulty, Healthy, rule


@rule(
    "NS409",
    severity="error",
    since="0.1.0",
    explains=("NS202", "NS404", "NS406", "NS408", "NS503", "NS506"),
)
def averaged_weights_without_statistics(recording: Recording) -> Iterator[Finding]:
    """Averaged weights are evaluated with running statistics that belong to other weights.

    ## What it checks
    Two kinds of average. A *model of its own*: a copy of a trained one by class and shapes that no optimizer steps, evaluated in
    eval mode, whose running statistics did not move since it was first seen (EMA, SWA, the server of federated
    averaging). And *weights that are swapped in*: evaluations of the trained model on other parameters than those that training
    goes on from (swapped averages, schedule-free optimizers). Either is asked on the kept training batches of the models
    that it came from: it is flagged by the bounds of NS408 when recomputed statistics do significantly better, and
    the source's own statistics do not have a gap half as large.

    ## Why it matters
    Running statistics describe the activations under the weights that produced them. The average has other activations, but
    normalizes with the statistics of the raw weights, or of the untrained copy. Measured on digits: an EMA of the parameters alone
    84 % against 99 % with the buffers; SWA without `update_bn` 85 % against 100 %.

    ## Example
    ```python
    for averaged, current in zip(ema.parameters(), model.parameters()):  # NS409: the buffers stay behind
        averaged.lerp_(current, 0.01)
    ```

    ## Repair
    Recompute the statistics under the averaged weights before evaluating, by `normscope.recalibrate(averaged_model, train_loader)`;
    or average or copy the
    buffers too (`AveragedModel(model, use_buffers=True)`). Experts disagree which is best: measure.

    ## Known limits
    Silent when the statistics moved (they are averaged, copied or recomputed), when the gap is within its noise or below three points (a slow
    average is often fine), for a copy that never changes over several evaluations (a fixed teacher), for one that was restored from
    a checkpoint (NS410) and for an average that is never evaluated. Unmeasured, only statistics that are still 0 and 1 are flagged.
    Weights swapped in once and never taken out again look like weights loaded at the end: NS408. Models above 64 MB are not
    kept for the question about swapped weights.

    ## References
    - Izmailov et al., *Averaging Weights Leads to Wider Optima*, 2018, section 3.2. https://arxiv.org/abs/1803.05407
    - PyTorch, *torch.optim*, Weight Averaging. https://docs.pytorch.org/docs/stable/optim.html#weight-averaging-swa-and-ema
    """
    gaps = recording.measurements.get("gap", [])
    for model in recording.models.values():
        raw = gap_of(gaps, model.id)
        swapped = gap_of(recording.measurements.get("stand_in", []), model.id)
        if model.stand_ins and swapped is not None and not _stale(raw):
            yield from _of_stand_ins(model, swapped)
        sources = family(recording, model)
        if not model.optimized and model.restored_from is None and sources:
            excused = any(_as_stale(gap_of(gaps, source.id), raw) for source in sources)
            yield from _of_copy(recording, model, raw, excused=excused)


def family(recording: Recording, model: Model) -> list[Model]:
    """The stepped models of the same class and shapes."""

    def original(m: Model) -> int:
        return m.id if m.copy_of is None else m.copy_of

    return [
        m
        for m in recording.models.values()
        if m is not model and m.optimized and original(m) == original(model)
    ]


def _of_stand_ins(model: Model, gap: Gap) -> Iterator[Finding]:
    severity = thresholds.staleness(gap, foreign=True)
    if severity is None or severity == "info":
        return
    yield Finding(
        f"`{model.name}` was evaluated {_times(model.stand_ins)} on other weights than it was trained with, which were "
        f"swapped in while the running statistics stayed: {_numbers(gap)}. Recompute the statistics under those weights "
        "before evaluating.",
        severity=_capped(severity, gap),
        confidence=thresholds.confidence(gap) if gap.measure != "output" else "low",
        model=model.name,
        layers=tuple(x.path for x in gap.layers),
        measured=_measured(gap),
        repairs=(recalibrated("averaged_model"),),
    )


def _of_copy(
    recording: Recording, model: Model, gap: Gap | None, *, excused: bool
) -> Iterator[Finding]:
    layers = [x for x in recording.layers.values() if x.model == model.id and x.kind == "batch"]
    spans = evaluations(recording, layers)
    kept = [x for x in layers if x.tracks]
    if not spans or not kept or any(x.updates or x.statistics_changed for x in kept):
        return
    if any(x.loaded == "misnamed" or (x.loaded == "parameters" and x.fresh_at_end) for x in kept):
        return  # a checkpoint without statistics: NS410
    first, last = min(s.first_step for s in spans), max(s.last_step for s in spans)
    if first < last and model.parameters_changed is False:
        return  # a teacher that stays as it is
    initial = all(x.fresh_at_end for x in kept)
    severity = (
        _capped(thresholds.staleness(gap, foreign=True), gap)
        if gap
        else "error"
        if initial
        else None
    )
    if severity is None or severity == "info" or (excused and not initial):
        return
    which = "still mean 0 and variance 1" if initial else "those of other weights"
    proof = f": {_numbers(gap)}" if gap else f" after {last} steps of training"
    yield Finding(
        f"`{model.name}`, a copy that no optimizer steps, is evaluated with running statistics that never moved with its weights and are "
        f"{which}{proof}. Recompute them, or average the buffers too.",
        severity=severity,
        confidence="medium" if gap is None else thresholds.confidence(gap),
        model=model.name,
        layers=tuple(x.path for x in kept),
        site=model.site,
        steps=Steps(first, last, sum(s.forwards for s in spans)),
        measured=_measured(gap)
        if gap
        else (Measured("updates of the running statistics", 0, "updates", low=1),),
        repairs=(recalibrated("averaged_model"),),
    )


def evaluations(recording: Recording, layers: list[Layer]) -> list[Span]:
    """The inference spans in which a layer normalized with running statistics, after training began."""
    found = {
        id(s): s
        for layer in layers
        for s, _, c in recording.calls(layer.id, "inference")
        if not c.batch_stats and s.last_step
    }
    return list(found.values())


def _stale(gap: Gap | None) -> bool:
    return gap is not None and thresholds.staleness(gap) in ("warning", "error")


def _as_stale(source: Gap | None, copy: Gap | None) -> bool:
    """Whether the source's statistics lag themselves, and by at least half of what the copy loses."""
    if source is None or not _stale(source):
        return False
    if copy is None or source.measure != copy.measure:
        return True
    if source.stale_error and copy.stale_error:
        return source.stale_error.value >= copy.stale_error.value / 2
    return source.stale.value >= copy.stale.value / 2


def _capped(severity: Severity | None, gap: Gap) -> Severity | None:
    # Without targets nothing says which of two outputs is the better one.
    return "warning" if gap.measure == "output" and severity == "error" else severity


def _times(n: int) -> str:
    return "once" if n == 1 else f"{n} times"


def _numbers(gap: Gap) -> str:
    if gap.error_running is not None and gap.error_population is not None:
        return (
            f"it errs on {gap.error_running:.1%} of the training data with them and on "
            f"{gap.error_population:.1%} with recomputed ones"
        )
    if gap.measure == "output":
        return f"its outputs move by {gap.running.value:.2g} standard deviations when they are recomputed"
    return (
        f"its {gap.measure} on training data is {gap.running.value:.3g} with them and "
        f"{gap.population.value:.3g} with recomputed ones"
    )


def _measured(gap: Gap) -> tuple[Measured, ...]:
    rise = gap.stale_error or gap.stale
    what = "error" if gap.stale_error else gap.measure
    unit = "share of samples" if gap.stale_error else gap.unit
    return (
        Measured(
            f"{what}: running − recomputed statistics",
            rise.value,
            unit,
            high=3 * rise.noise,
            noise=rise.noise,
        ),
    )


def _gap(b: float, c: float, noise: float = 0.005, **more: object) -> Gap:
    facts: dict[str, object] = {"measure": "error", "unit": "1", "samples": 2000, "batches": 32}
    return Gap(
        model=0,
        name="Net",
        batch=Reading(b, noise),
        population=Reading(b, noise),
        running=Reading(c, noise),
        stale=Reading(c - b, noise),
        inconsistent=Reading(0.0, noise),
        **(facts | more),  # pyright: ignore[reportArgumentType]
    )


# In a story the one model is the average; `source` tells of the model that it was copied from.
_COPY = "model optimized=False copy_of=1; source; layer a"
_STILL = f"{_COPY} statistics_changed=False"
_EVALUATED = "; infer a mode=eval since=20 steps=5 x5"

CASES = (
    Faulty(
        "parameters averaged, buffers as copied",
        ("a",),
        story=f"{_STILL} fresh_at_end=True; steps 100{_EVALUATED}",
        measured={"gap": _gap(0.01, 0.15)},
        severity="error",
    ),
    Faulty(
        "copied from a trained model: statistics of an older point",
        ("a",),
        story=f"{_STILL} fresh_at_start=False; steps 100{_EVALUATED}",
        measured={"gap": _gap(0.01, 0.05, noise=0.005)},
        severity="warning",
    ),
    Faulty(
        "a soup: averaged parameters loaded into a copy of the base network",
        ("a",),
        story=f"{_STILL} fresh_at_start=False loaded=parameters; steps 100; infer a mode=eval",
        measured={"gap": _gap(0.01, 0.15)},
        severity="error",
    ),
    Faulty(
        "seen for the first time at the end: SWA",
        ("a",),
        story=f"{_STILL.replace('model ', 'model parameters_changed=False ')} fresh_at_end=True; steps 100; infer a mode=eval",
        measured={"gap": _gap(0.01, 0.15)},
        severity="error",
    ),
    Faulty(
        "not measured, still 0 and 1",
        ("a",),
        story=f"{_STILL} fresh_at_end=True; steps 100{_EVALUATED}",
        severity="error",
    ),
    Faulty(
        "swapped in for each evaluation",
        (),
        story="model stand_ins=5; layer a; train a x100; infer a mode=eval",
        measured={"gap": _gap(0.01, 0.012), "stand_in": _gap(0.01, 0.15)},
        severity="error",
    ),
    Healthy(
        "buffers averaged or copied too",
        story=f"{_COPY} statistics_changed=True; steps 100{_EVALUATED}",
        measured={"gap": _gap(0.01, 0.15)},
    ),
    Healthy(
        "update_bn",
        story=f"{_STILL} updates=20; steps 100; infer a x20; infer a mode=eval",
        measured={"gap": _gap(0.01, 0.15)},
    ),
    Healthy(
        "a slow average: the statistics still fit",
        story=f"{_STILL} fresh_at_start=False; steps 100{_EVALUATED}",
        measured={"gap": _gap(0.01, 0.014, noise=0.004)},
    ),
    Faulty(
        "three points, exceeded by less than the noise",
        ("a",),
        story=f"{_STILL} fresh_at_start=False; steps 100{_EVALUATED}",
        measured={"gap": _gap(0.01, 0.042, noise=0.004)},
        severity="warning",
    ),
    Healthy(
        "two points",
        story=f"{_STILL} fresh_at_start=False; steps 100{_EVALUATED}",
        measured={"gap": _gap(0.01, 0.03, noise=0.001)},
    ),
    Healthy(
        "not measured, statistics of a checkpoint",
        story=f"{_STILL} fresh_at_start=False; steps 100{_EVALUATED}",
    ),
    Healthy(
        "never evaluated",
        story=f"{_STILL} fresh_at_end=True; steps 100; infer a x5",
        measured={"gap": _gap(0.01, 0.15)},
    ),
    Healthy(
        "a fixed teacher",
        story=f"{_STILL.replace('model ', 'model parameters_changed=False ')} fresh_at_start=False; steps 100{_EVALUATED}",
        measured={"gap": _gap(0.01, 0.15)},
    ),
    Healthy(
        "restored from a checkpoint",
        story=f"{_STILL.replace('model ', 'model restored_from=1 ')} fresh_at_end=True; steps 100; infer a mode=eval",
        measured={"gap": _gap(0.01, 0.15)},
    ),
    Healthy(
        "parameters loaded from a filtered state dict: NS410",
        story=f"{_STILL} fresh_at_end=True loaded=parameters; steps 100; infer a mode=eval",
        measured={"gap": _gap(0.01, 0.15)},
    ),
    Healthy(
        "a checkpoint under names with another prefix: NS410",
        story=f"{_STILL} fresh_at_start=False loaded=misnamed; steps 100; infer a mode=eval",
        measured={"gap": _gap(0.01, 0.15)},
    ),
    Healthy(
        "averaged parameters loaded, and the statistics fit",
        story=f"{_STILL} fresh_at_start=False loaded=parameters; steps 100; infer a mode=eval",
        measured={"gap": _gap(0.01, 0.014, noise=0.004)},
    ),
    Healthy(
        "the trained model itself, with stale statistics",
        story="layer a statistics_changed=True; train a x100; infer a mode=eval",
        measured={"gap": _gap(0.01, 0.15)},
    ),
    Healthy(
        "swapped in, and the statistics fit",
        story="model stand_ins=5; layer a; train a x100; infer a mode=eval",
        measured={"gap": _gap(0.01, 0.012), "stand_in": _gap(0.01, 0.012)},
    ),
    Healthy(
        "swapped in, and the raw weights have the same gap",
        story="model stand_ins=5; layer a; train a x100; infer a mode=eval",
        measured={"gap": _gap(0.01, 0.15), "stand_in": _gap(0.01, 0.15)},
    ),
)
