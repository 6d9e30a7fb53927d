"""Edits of where batches come from: the call that built the loader which training read, or the loop over own batches. NS302, NS304."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

from normscope.finding import Finding
from normscope.record.recording import Pattern, Recording, Span
from normscope.record.written import Written
from normscope.repairs.source.edits import LeaveOut, Proposal, Refusal
from normscope.repairs.source.remedies import keywords, models_of, setting

ENOUGH = 8  # values for each mean, from which on NS302 is silent
USUAL = 16  # samples of a batch, from which on NS301 is silent


def loader(finding: Finding, recording: Recording) -> Iterator[Proposal]:
    """NS302, NS304: the loader whose batches were trained on, where there is one; else the loop over batches."""
    if not finding.repairs or not (wanted := keywords(finding)):
        return
    [(keyword, value), *_] = wanted.items()
    loaders = [w for w in recording.written if w.kind == "loader"]
    used = [w for w in loaders if w.steps]
    if len(used) > 1:
        places = ", ".join(str(w.place) for w in used)
        yield Refusal("", f"several loaders fed the training ({places}): which one is not known")
    elif used:
        [call] = used
        if reason := _unfit(call, keyword):
            yield Refusal(str(call.place), reason)
        else:
            yield setting(call, keyword, value)
    elif keyword == "drop_last" and (singles := [w for w in loaders if w.batch_size == 1]):
        # It failed before the first step, so that nothing tells more than that its batches hold one sample.
        yield from _of_single_samples(singles)
    elif keyword == "drop_last":
        yield _left_out(finding, recording)
    else:
        where, _ = _trained_at(finding, recording)
        yield Refusal(
            where,
            "batches that your own code makes in the order of the data come in here: draw their rows with "
            "`torch.randperm(len(data)).split(size)` where they are made",
        )


def _unfit(call: Written, keyword: str) -> str:
    if 2 * call.idle >= call.passes:
        return "the same call builds a loader that nothing was trained on"
    if call.batch_size is None:
        return "a batch sampler of your own makes its batches"
    if keyword == "drop_last" and (call.batch_size == 1 or call.drop_last):
        return f"it has batches of {call.batch_size}, drop_last={call.drop_last}: the short batch comes from elsewhere"
    if keyword == "shuffle" and call.shuffles is not False:
        return (
            "it does not take the samples in order: they come sorted from its data set. Shuffle them there, in a buffer as large as "
            "memory allows"
        )
    return ""


def _of_single_samples(singles: list[Written]) -> Iterator[Proposal]:
    if len(singles) == 1:
        yield setting(singles[0], "batch_size", str(USUAL))
    else:
        places = ", ".join(str(w.place) for w in singles)
        yield Refusal("", f"several loaders give single samples ({places}): which one is not known")


def _left_out(finding: Finding, recording: Recording) -> Proposal:
    """The short batch is skipped in the loop that trains, where that is one line and batches are larger otherwise."""
    where, spans = _trained_at(finding, recording)
    usual, least = _sizes(finding, recording, spans)
    if not where:
        return Refusal("", "no call of your own code was seen to train the model")
    if usual < max(2, least):
        seen = f"of {usual} " if usual else ""
        return Refusal(
            where,
            f"batches {seen}that your own code makes come in here: cut the data into larger ones where they are made, of {USUAL} samples "
            "or more",
        )
    calls = [w for w in recording.written if w.kind == "forward" and str(w.place) == where]
    if len(calls) != 1:
        return Refusal(
            where,
            f"batches that your own code makes come in here: leave out those under {least} samples where they are made",
        )
    return LeaveOut(calls[0].place, least)


def _trained_at(finding: Finding, recording: Recording) -> tuple[str, list[tuple[Span, Pattern]]]:
    """The one line that trained the model (empty: there are several), and its training forwards."""
    models = {m.id for m in models_of(finding, recording)}
    spans = [
        (s, p)
        for s in recording.spans
        if s.kind == "training" and (p := recording.patterns[s.pattern]).model in models
    ]
    sites = {str(p.site) for _, p in spans if p.site is not None}
    if not sites:
        # It failed in the first forward.
        sites = {str(w.place) for w in recording.written if w.kind == "forward"}
    return (sites.pop() if len(sites) == 1 else ""), spans


def _sizes(
    finding: Finding, recording: Recording, spans: list[tuple[Span, Pattern]]
) -> tuple[int, int]:
    """Samples of the usual batch, and how many are enough for the layers of the finding; 0 and what is enough where none was seen."""
    paths = set(finding.layers)
    seen: dict[int, int] = {}
    values = 1
    for span, pattern in spans:
        mine = [c for c in pattern.calls if recording.layers[c.layer].path in paths and c.samples]
        if mine:
            seen[mine[0].samples] = seen.get(mine[0].samples, 0) + span.forwards
            values = max(values, min(c.values // c.samples for c in mine))
    usual = max(seen, key=lambda n: seen[n], default=0)
    return usual, ceil(ENOUGH / values)
