from __future__ import annotations

from collections.abc import Iterator

from normscope.finding import Finding, Measured, Remedy, Severity
from normscope.probes import thresholds
from normscope.probes.observations import Independence, Place
from normscope.probes.results import Gap, Reading, gap_of
from normscope.record.recording import Recording
from normscope.rule import Faulty, Healthy, rule

LEVEL = 0.01  # of the permutation test, in each half of the run
ENOUGH = 16  # effective samples; ImageNet error rises below 16 images (Wu & He 2018)
FEW = 4  # effective samples: as bad as batches of 4, whatever the gap at the end
ALIKE = 0.1  # correlation of targets within a batch; of shuffled ones it is 0 but for noise


@rule(
    "NS304", severity="error", since="0.1.0", explains=("NS302", "NS305", "NS408", "NS601", "NS603")
)
def correlated_batches(independence: Independence, recording: Recording) -> Iterator[Finding]:
    r"""The samples of a batch resemble each other: the data are sorted or grouped.

    ## What it checks
    Kept training batches are replayed with fixed weights in evaluation mode. Per-sample channel means of the raw inputs and of the inputs
    of batch norms are compared between and within batches: the correlation $\rho$ of two samples of a batch, and $n_{eff} = N / (1 + (N-1)\rho)$.
    It fires where a permutation test rejects independence at 0.01 in both halves of the run, each without its linear
    trend, and $n_{eff}$ at a norm is below 16 and below half of the batch. A warning where the gap probe measures a loss, or below 4 when the targets of a
    batch resemble each other as well (correlation of at least 0.1); else an info.

    ## Why it matters
    Batch statistics of 32 samples of one class or one recording are those of a few independent samples. They remove what the samples have in
    common, which evaluation with population statistics does not: the network meets there what it has never seen.

    ## Example
    ```python
    loader = DataLoader(folder_by_folder, batch_size=32)  # NS304: shuffle=False on data that lie sorted by class
    ```

    ## Repair
    Shuffle. Where data come as a stream, mix several sources or fill a shuffle buffer that is much larger than a batch.

    ## Known limits
    Accumulated micro-batches are batches here, because each is normalized by itself. Silent when several forwards from one line share a
    backward (their inputs may differ on purpose), with fewer than 12 kept batches of one size, when all batches are equal mixtures, and
    for norms that not all batches reach (one for each domain). Batches of several groups of equal size (P classes with K samples each,
    clips of frames, views of one image) are chosen on purpose: an info, as is one random shift or crop for a whole batch, which leaves
    the targets alone. Healthy draws of digits (shuffled, with and without the last short batch, with replacement, weighted,
    class-balanced; batches of 16, 32 and 64, 12 to 48 of them): 0 alarms in 500 seeded runs, so less than 0.6 % with 95 % confidence.
    It takes over the severity of a gap that it explains.

    ## References
    - Kish, *Survey Sampling*, 1965, section 5.4: the design effect. https://www.wiley.com/en-us/Survey+Sampling-p-9780471109495
    - Wu & Johnson, *Rethinking "Batch" in BatchNorm*, 2021, section 6. https://arxiv.org/abs/2105.07576
    """
    places = [p for p in independence.places if _few(p, independence)]
    if not places or independence.p > LEVEL or _several_a_step(recording, independence.model):
        return
    worst = min(places, key=lambda p: p.n_eff)
    gap = gap_of(recording.measurements.get("gap", []), independence.model)
    severity = _severity(worst, independence, gap)
    grouped = (
        f" Each batch is made of groups of {independence.group} samples, which looks deliberate."
        if independence.group
        else " Shuffle the training data."
    )
    yield Finding(
        f"The samples of a training batch of `{independence.name}` resemble each other (correlation {worst.correlation:.2f} at the input of `{worst.path}`; "
        f"p ≤ {independence.p:.3f} over {independence.batches} batches): {independence.batch} samples are worth "
        f"{worst.n_eff:.1f} independent ones.{grouped}",
        severity=severity,
        confidence="high" if independence.samples >= 1000 else "medium",
        model=independence.name,
        layers=tuple(p.path for p in places),
        measured=(
            Measured("effective samples per batch", worst.n_eff, "samples", low=ENOUGH),
            Measured("correlation within a batch", worst.correlation, "1"),
            Measured("p-value", independence.p, "1", low=LEVEL),
        ),
        repairs=(Remedy("shuffle", "changes-function", "`DataLoader(..., shuffle=True)`"),),
    )


def _few(place: Place, found: Independence) -> bool:
    return bool(place.path) and place.n_eff < ENOUGH and place.n_eff < found.batch / 2


def _severity(worst: Place, found: Independence, gap: Gap | None) -> Severity:
    if found.group:
        return "info"
    harm = gap is not None and bool(
        {thresholds.staleness(gap), thresholds.inconsistency(gap)} & {"warning", "error"}
    )
    sorted_too = found.targets is not None and found.targets >= ALIKE
    return "warning" if harm or (worst.n_eff < FEW and sorted_too) else "info"


def _several_a_step(recording: Recording, model: int) -> bool:
    """Whether a line runs the model several times a step with one backward for all: views of an image, two ends of a pair.

    Micro-batches whose gradients are accumulated run back one by one.
    """
    spans = [
        s
        for s in recording.spans
        if s.kind == "training" and recording.patterns[s.pattern].model == model
    ]
    forwards, joined = sum(s.forwards for s in spans), sum(s.joined for s in spans)
    return forwards >= 1.5 * max(1, sum(s.steps for s in spans)) and 4 * joined >= forwards


def _measured(
    n_eff: float = 2.5,
    *,
    p: float = 0.005,
    batch: int = 32,
    group: int | None = None,
    at: str = "a",
    targets: float | None = 0.9,
) -> dict[str, object]:
    rho = (batch / n_eff - 1) / (batch - 1)
    places = (Place(at, rho, n_eff),)
    return {
        "independence": Independence(
            model=0,
            name="Net",
            batches=40,
            samples=40 * batch,
            batch=batch,
            p=p,
            places=places,
            group=group,
            targets=targets,
        )
    }


def _gap(lost: float) -> Gap:
    return Gap(
        model=0,
        name="Net",
        measure="error",
        unit="1",
        samples=2000,
        batches=60,
        batch=Reading(0.02, 0.003),
        population=Reading(0.02 + lost, 0.003),
        running=Reading(0.02 + lost, 0.003),
        stale=Reading(0.0, 0.003),
        inconsistent=Reading(lost, 0.003),
    )


_RUN = "layer a; train a x500"

CASES = (
    Faulty("sorted by class", ("a",), story=_RUN, measured=_measured(), severity="warning"),
    Faulty(
        "nine effective samples, and the gap shows it",
        ("a",),
        story=_RUN,
        measured=_measured(9) | {"gap": _gap(0.1)},
        severity="warning",
    ),
    Faulty(
        "nine effective samples that lose nothing",
        ("a",),
        story=_RUN,
        measured=_measured(9) | {"gap": _gap(0.0)},
        severity="info",
    ),
    Faulty(
        "eight classes with four samples each",
        ("a",),
        story=_RUN,
        measured=_measured(3.9, group=4),
        severity="info",
    ),
    Faulty(
        "a few effective samples, targets not known, and the gap shows it",
        ("a",),
        story=_RUN,
        measured=_measured(targets=None) | {"gap": _gap(0.1)},
        severity="warning",
    ),
    Healthy(
        "one random shift for the whole batch",
        story=_RUN,
        measured=_measured(targets=0.01),
        at_most="info",
    ),
    Healthy(
        "views of a whole batch, without targets",
        story=_RUN,
        measured=_measured(targets=None),
        at_most="info",
    ),
    Healthy("independent draws", story=_RUN, measured=_measured(31, p=0.6)),
    Healthy("a low estimate by chance", story=_RUN, measured=_measured(9, p=0.05)),
    Healthy("sixteen effective samples", story=_RUN, measured=_measured(16.5, batch=256)),
    Healthy("a small batch of independent samples", story=_RUN, measured=_measured(7, batch=8)),
    Healthy("more than half of the batch is left", story=_RUN, measured=_measured(12.5, batch=24)),
    Healthy("a norm for each domain", story=_RUN, measured=_measured(1, at="")),
    Healthy(
        "two views in one loss",
        story="layer a; train a x1000 steps=500 joined=500",
        measured=_measured(2),
    ),
    Healthy(
        "the second of four forwards has the first one's backward",
        story="layer a; train a x1000 steps=250 joined=250",
        measured=_measured(2),
    ),
    Faulty(
        "micro-batches of one class, accumulated",
        ("a",),
        story="layer a; train a x1000 steps=250",
        measured=_measured(2),
        severity="warning",
    ),
    Faulty(
        "micro-batches of one class, and a few share a backward",
        ("a",),
        story="layer a; train a x1000 steps=250 joined=240",
        measured=_measured(2),
        severity="warning",
    ),
)
