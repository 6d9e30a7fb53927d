"""Edits that put a model into the right mode, or have a norm function follow it: NS111, NS401, NS402."""

from __future__ import annotations

from collections.abc import Iterator

from normscope.finding import Finding
from normscope.graph.model import Dropout
from normscope.record.recording import Model, Recording, Span
from normscope.record.written import Place, Written
from normscope.repairs.source.edits import (
    EvaluationMode,
    FollowMode,
    Proposal,
    Refusal,
    TrainingMode,
)
from normscope.repairs.source.remedies import models_of, setting


def training_flag(finding: Finding, recording: Recording) -> Iterator[Proposal]:
    """NS111: a functional call in a module's method can follow the module's mode, and so can `train()` inside a module."""
    models, meant = {m.id for m in models_of(finding, recording)}, set(finding.layers)
    found = False
    for call in recording.written:
        mine = [m for m in call.members if m.model in models]
        at = finding.site is not None and str(finding.site) == str(call.place)
        if call.kind != "function" or not (at or meant & {m.path for m in mine}):
            continue
        found = True
        if call.owner:
            yield setting(call, "training", f"{call.owner}.training")
        else:
            yield Refusal(
                str(call.place), "it stands in no module's method: hand the mode on as an argument"
            )
    if not found and finding.site is not None:
        # The norm is a layer, so its flag is set by `train()`; which one does is in the file.
        yield FollowMode(
            Place(finding.site.file, finding.site.line, finding.site.line, 0, 0),
        )
    elif not found:
        yield Refusal("", "no norm function that your own code calls has a fixed flag")


def evaluation(finding: Finding, recording: Recording) -> Iterator[Proposal]:
    """NS401: every line that evaluated the model in training mode, as the finding counts them."""
    for model in models_of(finding, recording):
        spans = [
            (s, p)
            for s in recording.spans
            if (p := recording.patterns[s.pattern]).model == model.id
        ]
        trained = [(s, p) for s, p in spans if s.kind == "training"]
        begin = min((s.first_step for s, _ in trained), default=0)
        evaluated = [
            (s, p)
            for s, p in spans
            if s.kind == "inference" and p.training and s.last_step > begin and p.site is not None
        ]
        sites = {p.site: False for s, p in evaluated if s.scored or p.site == finding.site}
        for s, p in evaluated:
            if p.site in sites:
                sites[p.site] |= bool(s.followed_by.get("training"))
        reason = _not_by_a_line(recording, model, [s for s, _ in evaluated])
        if not reason and any(sites.values()) and _partly_frozen(recording, model):
            reason = FROZEN
        if reason:
            yield Refusal(str(finding.site or ""), reason)
            continue
        both = {p.site for _, p in trained}
        for site, restore in sites.items():
            if site in both:
                yield Refusal(
                    str(site),
                    "this line trains the model, too: call `eval()` where it is run for evaluation",
                )
                continue
            if (call := _forward(recording, model, str(site))) is None:
                yield Refusal(str(site), "no call of your own code was seen to run the model there")
                continue
            lines = {
                p.site.line for _, p in trained if p.site and p.site.file == call.place.file
            } - {call.place.line}
            yield EvaluationMode(call.place, restore, frozenset(lines))


def training(finding: Finding, recording: Recording) -> Iterator[Proposal]:
    """NS402."""
    for model in models_of(finding, recording):
        if finding.site is None:
            continue
        if (call := _forward(recording, model, str(finding.site))) is None:
            yield Refusal(
                str(finding.site), "no call of your own code was seen to run the model there"
            )
            continue
        if _partly_frozen(recording, model):
            yield Refusal(str(finding.site), FROZEN)
            continue
        patterns = (recording.patterns[s.pattern] for s in recording.spans if s.kind == "inference")
        lines = {
            p.site.line
            for p in patterns
            if p.model == model.id and p.site and p.site.file == call.place.file
        }
        yield TrainingMode(call.place, frozenset(lines - {call.place.line}))


FROZEN = "some of its norms train in evaluation mode: `train()` would set them going"


def _not_by_a_line(recording: Recording, model: Model, evaluated: list[Span]) -> str:
    """Why `eval()` before the forward would not do, or would undo what is meant; empty when nothing says so."""
    for event in recording.events_of("traced"):
        if event.model == model.id:
            return f"a trace keeps the mode it was made in: call `eval()` before the tracing at {event.site}"
    graphs = [g for g in recording.graphs if g.model == model.id]
    drops = any(isinstance(n.op, Dropout) and n.op.rate > 0 for g in graphs for n in g)
    forwards = sum(s.forwards for s in evaluated)
    if drops and forwards > 2 and sum(s.same_input for s in evaluated) >= 0.5 * forwards:
        return (
            "the same input was run again and again with dropout on, as Monte Carlo dropout does: "
            "call `eval()`, and `train()` of the dropout layers only"
        )
    return ""


def _partly_frozen(recording: Recording, model: Model) -> bool:
    """Whether a layer used its stored statistics while the model as a whole trained in training mode."""
    tracking = {k for k, x in recording.layers.items() if x.kind == "batch" and x.tracks}
    return any(
        not c.batch_stats and c.layer in tracking
        for s in recording.spans
        if s.kind == "training"
        and (p := recording.patterns[s.pattern]).model == model.id
        and p.training
        for c in p.calls
    )


def _forward(recording: Recording, model: Model, site: str) -> Written | None:
    """The call of the model in that line."""
    return next(
        (
            w
            for w in recording.written
            if w.kind == "forward"
            and str(w.place) == site
            and any(m.model == model.id for m in w.members)
        ),
        None,
    )
