"""What a diagnosis says, in sentences that the terminal and the HTML report share."""

from __future__ import annotations

from collections.abc import Iterator

from normscope.diagnosis import Diagnosis
from normscope.finding import Finding, Remedy
from normscope.probes.results import Gap
from normscope.record.recording import CHECKED, Recording
from normscope.record.roles import roles
from normscope.report.wording import count, number, percent, plain, shortened, some, with_noise

SHORT = (
    1.0  # seconds of a loop whose share would say little: most of what is done in it is done once
)
STATUS = {
    "failing": "failing",
    "suspect": "suspect",
    "healthy": "healthy",
    "not_evaluated": "not evaluated",
}


def primary(diagnosis: Diagnosis) -> Finding | None:
    """The finding that the verdict names."""
    return next((f for f in diagnosis.findings if f.code == diagnosis.verdict.primary), None)


def headline(diagnosis: Diagnosis) -> str:
    """The verdict in one line, without the word `Verdict`."""
    verdict, cause = diagnosis.verdict, primary(diagnosis)
    status = STATUS[verdict.status]
    if cause:
        return (
            f"{status}: {cause.code} {cause.name} ({cause.severity}, {cause.confidence} confidence)"
        )
    if verdict.normalization_to_blame is False:
        return f"{status}: normalization is not to blame"
    return status


def place(finding: Finding) -> str:
    """Where it is: site, model and layers, in one phrase; empty when the finding has none."""
    parts = [f"at {plain(str(finding.site))},"] if finding.site else []
    if finding.layers:
        noun = "layer" if len(finding.layers) == 1 else "layers"
        parts.append(f"{noun} {some(finding.layers)}")
    if finding.model:
        name = shortened(finding.model)
        parts.append(f"of {name}" if finding.layers else f"model {name}")
    return " ".join(parts).removesuffix(",")


def symptoms(diagnosis: Diagnosis, cause: Finding) -> list[Finding]:
    """What `cause` explains."""
    return [f for f in diagnosis.findings if f.explained_by == cause.code]


def others(diagnosis: Diagnosis) -> list[Finding]:
    """Unexplained findings besides those that the verdict already speaks of."""
    said = primary(diagnosis), diagnosis.verdict.summary
    return [
        f
        for f in diagnosis.findings
        if f.explained_by is None and f is not said[0] and f.message != said[1]
    ]


def remedies(diagnosis: Diagnosis) -> list[Remedy]:
    """What to do next: the remedies of the finding that the verdict names; exact ones first, and then commands likewise."""
    cause = primary(diagnosis)
    if cause is None:
        return []
    return sorted(
        cause.repairs, key=lambda r: (r.command.startswith("normscope repair "), r.kind != "exact")
    )


def gaps(recording: Recording) -> list[Gap]:
    """The answers of the gap probe."""
    return [g for g in recording.measurements.get("gap", []) if isinstance(g, Gap)]


def acquittal(diagnosis: Diagnosis) -> Iterator[str]:
    """By which measurements normalization is found healthy."""
    recording = diagnosis.recording
    norms = sum(m.norm_layers for m in recording.models.values())
    if not norms or not recording.trained:
        return
    probed = gaps(recording)
    for gap in probed:
        yield gap_sentence(gap)
    yield f"Observed: {count(norms, 'normalization layer')} over {count(recording.steps, 'training step')}."
    if not probed:
        yield "The train-evaluation gap was not measured, so this rests on what was observed during training."


def gap_sentence(gap: Gap) -> str:
    """The gap probe's answer: the three readings, and whether running statistics cost anything."""
    if gap.measure == "output":
        reading = (
            f"outputs under running statistics lie {number(gap.running.value)} {shortened(gap.unit)} from those under "
            f"recomputed ones (two halves of the data: {number(gap.population.value)})"
        )
    else:
        reading = (
            f"{gap.measure} {number(gap.running.value)} with running statistics, {number(gap.population.value)} "
            f"with recomputed ones, {number(gap.batch.value)} with batch statistics"
        )
    within = abs(gap.stale.value) <= 2 * gap.stale.noise
    judged = "within two standard errors" if within else "beyond two standard errors"
    return (
        f"Train-evaluation gap of {shortened(gap.name)} on {count(gap.samples, 'training sample')}: {reading}; "
        f"running − recomputed = {with_noise(gap.stale.value, gap.stale.noise)}, {judged}."
    )


def cast(recording: Recording) -> Iterator[str]:
    """Who is who, where several models with norm layers took part."""
    told = [m for m in recording.models.values() if m.norm_layers]
    if len(told) > 1:
        known = roles(recording)
        yield f"{some([f'{shortened(m.name)} ({known[m.id]})' for m in told], 6)}."


def unseen(diagnosis: Diagnosis) -> Iterator[str]:
    """What was not observed or not understood."""
    seen = diagnosis.coverage
    if seen.unobserved_layers:
        verb = "was" if len(seen.unobserved_layers) == 1 else "were"
        layers = count(len(seen.unobserved_layers), "normalization layer")
        yield f"{layers} {verb} never called: {some(seen.unobserved_layers)}."
    if seen.opaque_operations:
        yield (
            f"{count(len(seen.opaque_operations), 'kind')} of operation not understood, about which nothing is "
            f"assumed: {some(seen.opaque_operations)}."
        )
    yield from (plain(note) for note in seen.notes)


def not_evaluated(diagnosis: Diagnosis) -> Iterator[str]:
    """Rules that could not run, grouped by the evidence that they miss."""
    missing: dict[tuple[str, str], list[str]] = {}
    if diagnosis.recording.status == CHECKED:
        yield from _not_looked_at(diagnosis)
        return
    for skipped in diagnosis.not_evaluated:
        missing.setdefault((skipped.needs, skipped.hint), []).append(skipped.code)
    for (needs, hint), codes in missing.items():
        verb = "needs" if len(codes) == 1 else "need"
        yield f"{some(codes, 12)} {verb} `{plain(needs)}`" + (f": {plain(hint)}." if hint else ".")


def _not_looked_at(diagnosis: Diagnosis) -> Iterator[str]:
    """The same for a model that was only looked at, where three things can be missing."""
    missing: dict[str, list[str]] = {}
    hints: dict[str, str] = {}
    for skipped in diagnosis.not_evaluated:
        what = {"graph": "an input", "weights": "weights"}.get(skipped.needs, "training")
        missing.setdefault(what, []).append(skipped.code)
        hints[what] = skipped.hint
    for what, codes in sorted(missing.items()):
        verb = "needs" if len(codes) == 1 else "need"
        yield f"{count(len(codes), 'rule')} {verb} {what} ({some(codes, 4)}): {plain(hints[what])}."


def cost(recording: Recording) -> str:
    """What observing took, as measured; empty where nothing ran."""
    spent = recording.cost
    if not recording.trained:
        return f"asking took {number(spent.probing)} s." if spent.probing else ""
    if spent.loop <= 0:
        return "not measured: no training loop was seen."
    if spent.loop - spent.observing < SHORT:
        sentence = f"observing took {number(spent.observing)} s of a training loop of {number(spent.loop)} s; the first steps cost most"
    else:
        sentence = f"observing took {percent(spent.overhead)} of the training loop (budget {percent(spent.budget)})"
    once = [
        f"{number(seconds)} s {what}"
        for seconds, what in ((spent.startup, "to start"), (spent.probing, "to measure at the end"))
        if seconds >= 0.05
    ]
    return f"{sentence}; once, {' and '.join(once)}." if once else f"{sentence}."
