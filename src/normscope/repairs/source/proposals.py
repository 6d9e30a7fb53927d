"""From a finding to edits: the one table of which rule's findings can be mended in the source, and how."""

from __future__ import annotations

import ast
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from normscope.diagnosis import Diagnosis
from normscope.finding import Finding, Remedy
from normscope.graph.model import Dropout
from normscope.record.recording import Layer, Model, Recording, Span
from normscope.record.written import Written, WrittenKind
from normscope.repairs.source.edits import (
    UNKNOWN,
    Edit,
    EvaluationMode,
    Refusal,
    SetKeyword,
    TrainingMode,
)

Proposal = Edit | Refusal
Propose = Callable[[Finding, Recording], Iterator[Proposal]]


def proposals(finding: Finding, recording: Recording) -> tuple[Proposal, ...]:
    """The edits for a finding, and why there is none where one was looked for; empty when its rule has no edit."""
    propose = EDITS.get(finding.code)
    return tuple(dict.fromkeys(propose(finding, recording))) if propose else ()


def has_edit(finding: Finding, recording: Recording) -> bool:
    """Whether there is an edit, as far as the recording tells: the file itself is not read."""
    return any(not isinstance(p, Refusal) for p in proposals(finding, recording))


def with_advice(diagnosis: Diagnosis) -> Diagnosis:
    """The diagnosis whose findings name the command that shows their edit, where there is one."""
    recording = diagnosis.recording
    if not recording.file:
        return diagnosis
    command = f"normscope repair advice {shlex.quote(recording.file)}"
    findings: list[Finding] = []
    for finding in diagnosis.findings:
        exact = any(r.kind == "exact" for r in finding.repairs)
        if (finding.severity != "info" or exact) and has_edit(finding, recording):
            remedy = Remedy("edit the source", "exact" if exact else "changes-function", command)
            finding = replace(finding, repairs=(*finding.repairs, remedy))
        findings.append(finding)
    return replace(diagnosis, findings=tuple(findings))


def keywords(finding: Finding) -> dict[str, str]:
    """The keyword arguments that the finding's remedies set: `momentum=0.1`, `DataLoader(..., drop_last=True)`."""
    found: dict[str, str] = {}
    for remedy in finding.repairs:
        command = remedy.command.strip("`")
        for text in (command, f"_({command})"):
            try:
                tree = ast.parse(text, mode="eval").body
            except SyntaxError:
                continue
            if isinstance(tree, ast.Call):
                for k in tree.keywords:
                    if k.arg is not None:
                        found.setdefault(k.arg, ast.unparse(k.value))
                break
    return found


# ---- constructors -------------------------------------------------------------------------------


def bias(finding: Finding, recording: Recording) -> Iterator[Proposal]:
    """NS101: every layer that the call builds must have a bias that does nothing."""
    yield from _constructors(finding, recording, "affine", "bias", lambda _: True)


def momentum(finding: Finding, recording: Recording) -> Iterator[Proposal]:
    """NS201, NS202."""
    yield from _constructors(finding, recording, "norm", "momentum", lambda x: x.momentum)


def eps(finding: Finding, recording: Recording) -> Iterator[Proposal]:
    """NS205."""
    yield from _constructors(finding, recording, "norm", "eps", lambda x: x.eps)


def _constructors(
    finding: Finding,
    recording: Recording,
    kind: WrittenKind,
    keyword: str,
    setting: Callable[[Layer], object],
) -> Iterator[Proposal]:
    value = keywords(finding).get(keyword)
    if value is None:
        return
    models = {m.id for m in _models(finding, recording)}
    meant = set(finding.layers)
    seen: set[str] = set()
    for call in recording.written:
        members = [m for m in call.members if m.model in models]
        mine = {m.path for m in members} & meant
        if call.kind != kind or not mine:
            continue
        seen |= mine
        expected: object = True
        if kind == "norm":
            layers = [x for m in members if (x := recording.layer_at(m.model, m.path))]
            # A schedule may have changed the others: what they were built with is what they have now at the latest.
            values = {setting(x) for x in layers}
            others = [x.path for x in layers if x.path not in meant]
            expected = values.pop() if len(values) == 1 else UNKNOWN
            wrong = others[:1] if expected is UNKNOWN else []
        else:
            wrong = [m.path for m in call.members if m.path not in meant]
        if wrong:
            yield Refusal(
                str(call.place), f"the same call builds `{wrong[0]}`, where `{keyword}` is right"
            )
        else:
            yield _set(call, keyword, value, expected)
    for path in sorted(meant - seen):
        yield Refusal(f"`{path}`", "no call of your own code was seen to build it")


def _set(call: Written, keyword: str, value: str, expected: object = UNKNOWN) -> Proposal:
    if keyword not in call.parameters and not call.open:
        return Refusal(
            str(call.place), f"the call enters `{call.enters}`, which takes no `{keyword}`"
        )
    return SetKeyword(call.place, keyword, value, call.parameters, call.open, expected)


# ---- loaders ------------------------------------------------------------------------------------


def loader(finding: Finding, recording: Recording) -> Iterator[Proposal]:
    """NS302, NS304: the loader whose batches were trained on, where there is one."""
    if not finding.repairs or not (wanted := keywords(finding)):
        return
    [(keyword, value), *_] = wanted.items()
    used = [w for w in recording.written if w.kind == "loader" and w.steps]
    if not used:
        yield Refusal("", "no `DataLoader` of your own code was seen to feed the training")
        return
    if len(used) > 1:
        places = ", ".join(str(w.place) for w in used)
        yield Refusal("", f"several loaders fed the training ({places}): which one is not known")
        return
    [call] = used
    if reason := _unfit(call, keyword):
        yield Refusal(str(call.place), reason)
    else:
        yield _set(call, keyword, value)


def _unfit(call: Written, keyword: str) -> str:
    if 2 * call.idle >= call.passes:
        return "the same call builds a loader that nothing was trained on"
    if call.batch_size is None:
        return "a batch sampler of your own makes its batches"
    if keyword == "drop_last" and (call.batch_size == 1 or call.drop_last):
        return f"it has batches of {call.batch_size}, drop_last={call.drop_last}: the short batch comes from elsewhere"
    if keyword == "shuffle" and call.shuffles is not False:
        return "it does not take the samples in order: they come sorted from elsewhere"
    return ""


# ---- modes --------------------------------------------------------------------------------------


def training_flag(finding: Finding, recording: Recording) -> Iterator[Proposal]:
    """NS111: a functional call in a module's method can follow the module's mode."""
    models, meant = {m.id for m in _models(finding, recording)}, set(finding.layers)
    found = False
    for call in recording.written:
        mine = [m for m in call.members if m.model in models]
        at = finding.site is not None and str(finding.site) == str(call.place)
        if call.kind != "function" or not (at or meant & {m.path for m in mine}):
            continue
        found = True
        if call.owner:
            yield _set(call, "training", f"{call.owner}.training")
        else:
            yield Refusal(
                str(call.place), "it stands in no module's method: hand the mode on as an argument"
            )
    if not found:
        yield Refusal("", "no norm function that your own code calls has a fixed flag")


def evaluation(finding: Finding, recording: Recording) -> Iterator[Proposal]:
    """NS401: every line that evaluated the model in training mode, as the finding counts them."""
    for model in _models(finding, recording):
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
    for model in _models(finding, recording):
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


def _models(finding: Finding, recording: Recording) -> list[Model]:
    return [m for m in recording.models.values() if finding.model in ("", m.name)]


EDITS: Mapping[str, Propose] = {
    "NS101": bias,
    "NS111": training_flag,
    "NS201": momentum,
    "NS202": momentum,
    "NS205": eps,
    "NS302": loader,
    "NS304": loader,
    "NS401": evaluation,
    "NS402": training,
}
