from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from normscope.concepts.wording import batch_norms
from normscope.finding import Finding, Measured, Remedy, Severity
from normscope.graph.model import Site
from normscope.probes import thresholds
from normscope.probes.observations import Signal, Values
from normscope.probes.results import Gap, Reading
from normscope.record.recording import Layer, Model, Recording
from normscope.rule import Faulty, Healthy, rule

ENOUGH = 16  # images per group: ImageNet top-1 error 23.7 % at 16 and 23.6 % at 32 (Wu & He 2018)
MAP = 16  # positions per image from which a map is large enough to help the statistics, where that was not measured
WORTH, PLENTY = 16, 32  # independent values that a batch mean is worth: helps a little, suffices


@rule("NS301", severity="error", since="0.1.0", explains=("NS408", "NS601"))
def small_batch(recording: Recording) -> Iterator[Finding]:
    r"""Batches are too small for batch statistics.

    ## What it checks
    How many samples each batch norm normalizes together in training: the median over its training forwards in
    training mode. Up to 3 is an error, 4 to 7 a warning, 8 to 15 an info, 16 and more is fine. Positions that the model folds into
    dimension 0 are not counted as samples. Replayed batches tell how many independent values $n_{eff} = N\sigma^2 / Var(\text{sample means})$
    a batch mean is worth: two large maps of fine texture are worth many, two rows of a table two. 4 to 7 samples that are worth 32 are an
    info. Where the gap probe shows that neither running nor recomputed statistics lose anything, four samples are an info, and up to three a
    warning if they are worth 16 (not measured: if a sample has 16 positions).

    ## Why it matters
    With n samples the mean is off by σ/√n, and evaluation uses other statistics than training did. ResNet-50 on
    ImageNet: 23.7 % error at 16 images per group, 24.8 % at 8, 27.3 % at 4, 34.7 % at 2. On vectors of two samples only the sign of
    their difference is left. Gradient accumulation does not help: each forward is normalized by itself.

    ## Example
    ```python
    loader = DataLoader(images, batch_size=2)  # NS301: two images share their statistics
    ```

    ## Repair
    A larger batch; SyncBatchNorm across devices; GroupNorm, which does not depend on the batch; or
    statistics that stand still for the last fifth of training (25.2 % at 2 images instead of 34.7 %). How small a batch this very network
    bears, `normscope probe batch_size file.py:setup` measures.

    ## Known limits
    Graphs, whose inputs hold nodes in dimension 0, are silent by their numbers; so are flattened sequences that could not be replayed. Folded
    positions fire only below 16 independent values, as an error only with a gap that counts, and as an info without loss.
    Correlation between samples is not seen (NS304). Silent for SyncBatchNorm and for statistics in evaluation mode; an info
    where the statistics stood still in the end, and for a copy that is adapted within one step and no optimizer steps (meta-learning).

    ## References
    - Wu & He, *Group Normalization*, 2018, section 4.1. https://arxiv.org/abs/1803.08494
    - Wu & Johnson, *Rethinking "Batch" in BatchNorm*, 2021, section 3. https://arxiv.org/abs/2105.07576
    """
    gaps = {g.model: g for g in recording.measurements.get("gap", []) if isinstance(g, Gap)}
    worth = {
        v.layer: v
        for m in recording.measurements.get("signal", [])
        if isinstance(m, Signal)
        for v in m.values
    }
    for model in recording.models.values():
        groups = [
            g
            for x in recording.layers.values()
            if x.model == model.id and x.kind == "batch" and not x.synchronized
            if (g := _group(recording, x, worth.get(x.id))) and g.small
        ]
        if groups:
            yield _finding(model, groups, gaps.get(model.id))


@dataclass(frozen=True, slots=True)
class _Group:
    """What one layer normalizes together."""

    layer: Layer
    samples: int  # median over training forwards
    values: int
    forwards: int
    per_step: float
    repeats: bool  # the forwards of a step see the same input
    still_at_end: bool
    passing: bool  # of a model that no optimizer steps, all within one step of others: a copy that is adapted and dropped
    site: Site | None
    n_eff: float | None  # independent values that the mean of these samples is worth
    folded: bool  # dimension 0 holds positions too

    @property
    def small(self) -> bool:
        few = self.samples < ENOUGH
        return few and not (self.folded and self.n_eff is not None and self.n_eff >= WORTH)


def _group(recording: Recording, layer: Layer, worth: Values | None) -> _Group | None:
    sizes: list[tuple[int, int, int]] = []  # samples, values, forwards
    forwards, steps, same, site = 0, 0, 0, None
    still, when = False, set[int]()
    for span, pattern, call in recording.calls(layer.id, "training"):
        if call.recomputed:
            continue
        still = not call.batch_stats
        if call.updates and call.samples:  # else the batch's size is not known
            sizes.append((call.samples, call.values, span.forwards))
            forwards += span.forwards
            steps += span.steps
            when |= {span.first_step, span.last_step}
            same += span.same_input
            site = site or pattern.site
    if not sizes:
        return None
    rows, values = _median(sizes)
    samples = max(1, rows // worth.rows) if worth else rows
    return _Group(
        layer,
        samples,
        values,
        forwards,
        forwards / max(steps, 1),
        repeats=2 * same >= forwards,
        still_at_end=still,
        passing=len(when) == 1
        and recording.steps > 1  # else steps may be made in a way that is not seen
        and not recording.models[layer.model].optimized,
        site=site,
        n_eff=worth.n_eff * samples / worth.samples if worth else None,
        folded=worth is not None and worth.rows > 1,
    )


def _median(sizes: list[tuple[int, int, int]]) -> tuple[int, int]:
    """The samples and values of the forward in the middle, when all are lined up by size."""
    half = sum(n for _, _, n in sizes) / 2
    for samples, values, n in sorted(sizes):
        half -= n
        if half <= 0:
            return samples, values
    return sizes[-1][0], sizes[-1][1]


def _finding(model: Model, groups: list[_Group], gap: Gap | None) -> Finding:
    least = min(groups, key=lambda g: (g.samples, g.n_eff or g.values))
    severity = _severity(least, gap)
    alike = [g for g in groups if _severity(g, gap) == severity]
    count = batch_norms(len(alike))
    several = least.per_step >= 1.5 and not least.repeats
    accumulated = (
        f" The {least.per_step:.2g} forwards per step do not add up: each is normalized by itself."
        if several
        else ""
    )
    calm = gap is not None and thresholds.calm(gap)
    cost = " So far the measured gap shows no loss by it." if calm else ""
    samples = "1 sample" if least.samples == 1 else f"{least.samples} samples"
    worth = f", worth {least.n_eff:.0f} independent ones" if least.n_eff is not None else ""
    independent = (
        (Measured("independent values per channel", least.n_eff, "values", low=PLENTY),)
        if least.n_eff is not None
        else ()
    )
    return Finding(
        f"{count} of `{model.name}` normalize {samples} at a time (median of {least.forwards} training forwards; "
        f"{least.values} values per channel{worth}), where 16 or more are needed for steady statistics.{accumulated}{cost} "
        "Enlarge the batch, or use GroupNorm.",
        severity=severity,
        confidence="high" if least.forwards >= 10 else "medium",
        model=model.name,
        layers=tuple(g.layer.path for g in alike),
        site=least.site,
        measured=(
            Measured("samples per normalization group", least.samples, "samples", low=ENOUGH),
            Measured("values per channel", least.values, "values"),
            *independent,
        ),
        repairs=(
            Remedy(
                "larger-batch",
                "changes-function",
                "`DataLoader(..., batch_size=32, drop_last=True)`",
            ),
            Remedy(
                "group-norm",
                "changes-function",
                f"`nn.GroupNorm({_groups(least.layer.channels)}, {least.layer.channels})`",
            ),
        ),
    )


def _groups(channels: int) -> int:
    """The largest divisor of `channels` up to 32 that leaves groups of two channels or more."""
    return max((g for g in range(1, 33) if channels % g == 0 and channels >= 2 * g), default=1)


def _severity(group: _Group, gap: Gap | None) -> Severity:
    if group.still_at_end or group.passing or group.samples >= 8:
        return "info"
    calm = gap is not None and thresholds.calm(gap)
    if group.folded:  # what a sample is was concluded, so that a loss must show for an error
        return "info" if calm else "warning" if gap is None else "error"
    if group.samples >= 4:
        return "info" if calm or (group.n_eff or 0) >= PLENTY else "warning"
    if group.n_eff is not None:
        return "warning" if calm and group.n_eff >= WORTH else "error"
    large = group.values >= MAP * group.samples and group.samples > 1
    return "warning" if calm and large else "error"


def _worth(n_eff: float, samples: int, rows: int = 1) -> dict[str, object]:
    values = (Values(0, "a", samples, rows, n_eff),)
    return {"signal": Signal(model=0, name="Net", samples=1000, batches=50, values=values)}


_CALM = Gap(
    model=0,
    name="Net",
    measure="error",
    unit="1",
    samples=2000,
    batches=500,
    batch=Reading(0.02, 0.003),
    population=Reading(0.02, 0.003),
    running=Reading(0.02, 0.003),
    stale=Reading(0.0, 0.003),
    inconsistent=Reading(0.0, 0.003),
)

CASES = (
    Faulty(
        "two samples",
        ("a", "b"),
        story="layer a; layer b; train a,b batch=2 x500; train a,b batch=1 values=4",
        severity="error",
    ),
    Faulty(
        "two samples, accumulated to 32",
        ("a",),
        story="layer a; train a batch=2 x1600 steps=100",
        severity="error",
    ),
    Faulty("four samples", ("a",), story="layer a; train a batch=4 x500", severity="warning"),
    Faulty("eight samples", ("a",), story="layer a; train a batch=8 x500", severity="info"),
    Faulty(
        "two large maps that lose nothing",
        ("a",),
        story="layer a; train a batch=2 values=2048 x500",
        measured={"gap": _CALM},
        severity="warning",
    ),
    Faulty(
        "two large smooth maps that lose nothing, but are worth five values",
        ("a",),
        story="layer a; train a batch=2 values=2048 x500",
        measured={"gap": _CALM, **_worth(5, 2)},
        severity="error",
    ),
    Faulty(
        "two large maps of fine texture that lose nothing",
        ("a",),
        story="layer a; train a batch=2 values=2048 x500",
        measured={"gap": _CALM, **_worth(16, 2)},
        severity="warning",
    ),
    Faulty(
        "two sequences, folded into dimension 0",
        ("a",),
        story="layer a; train a batch=200 values=200 x500",
        measured=_worth(2.2, 2, rows=100),
        severity="warning",
    ),
    Healthy(
        "four maps of fine texture",
        story="layer a; train a batch=4 values=4096 x500",
        measured=_worth(32, 4),
        at_most="info",
    ),
    Healthy(
        "two sequences of independent steps, folded",
        story="layer a; train a batch=200 values=200 x500",
        measured=_worth(150, 2, rows=100),
    ),
    Healthy(
        "32 sequences, folded",
        story="layer a; train a batch=3200 values=3200 x500",
        measured=_worth(40, 32, rows=100),
    ),
    Healthy("sixteen samples", story="layer a; train a batch=16 x500"),
    Healthy(
        "one short batch per epoch", story="layer a; train a x500; train a batch=3; train a x500"
    ),
    Healthy("statistics in evaluation mode", story="layer a; train a mode=eval batch=2 x500"),
    Healthy("synchronized", story="layer a synchronized=True; train a batch=2 x500"),
    Healthy(
        "only evaluated one by one", story="layer a; train a x9; infer a mode=eval batch=1 x50"
    ),
    Healthy(
        "group norm", story="layer a kind='group' tracks=False; train a updates=False batch=2 x9"
    ),
    Healthy(
        "four samples that lose nothing",
        story="layer a; train a batch=4 x500",
        measured={"gap": _CALM},
        at_most="info",
    ),
    Healthy(
        "a copy adapted to one task",
        story="model optimized=False; layer a; train a batch=5; steps 9",
        at_most="info",
    ),
    Faulty(
        "steps that are not seen",
        ("a",),
        story="model optimized=False; layer a; train a batch=5",
        severity="warning",
    ),
    Faulty(
        "stepped by hand",
        ("a",),
        story="model optimized=False; layer a; train a batch=5 x10",
        severity="warning",
    ),
    Healthy(
        "statistics stand still in the end",
        story="layer a; train a batch=2 x400; train a mode=eval root=train batch=2 x100",
        at_most="info",
    ),
)
