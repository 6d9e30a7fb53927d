"""From findings to one answer: causes before symptoms, a verdict, and whether normalization is to blame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from normscope import catalogue, engine
from normscope.concepts.keras_words import in_keras
from normscope.evidence import Evidence, of_recording
from normscope.finding import CONFIDENCES, SEVERITIES, Finding, NotEvaluated
from normscope.graph.model import Graph
from normscope.record.recording import CHECKED, PROBED, Layer, Model, Recording
from normscope.rule import Rule

Status = Literal["failing", "suspect", "healthy", "not_evaluated"]
ACQUITTAL = "NS604"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`normalization_to_blame` is None when it is not known."""

    status: Status
    primary: str | None
    normalization_to_blame: bool | None
    summary: str


@dataclass(frozen=True, slots=True)
class Coverage:
    """What was not seen: operations that are not understood, layers that never ran, and other gaps in plain words."""

    opaque_operations: tuple[str, ...] = ()
    unobserved_layers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The findings ranked so that the first is the root cause, each symptom right after its cause."""

    recording: Recording
    verdict: Verdict
    findings: tuple[Finding, ...]
    not_evaluated: tuple[NotEvaluated, ...]
    coverage: Coverage


def diagnose(recording: Recording, rules: Sequence[Rule] | None = None) -> Diagnosis:
    """Judge a recording by `rules` (default: all that are on by default)."""
    chosen = tuple(rules) if rules is not None else catalogue.selection()
    return of_evidence(recording, of_recording(recording), chosen)


def of_evidence(recording: Recording, evidence: Evidence, rules: Sequence[Rule]) -> Diagnosis:
    found, skipped = engine.run(rules, evidence)
    if recording.framework == "keras":
        found = [in_keras(f) for f in found]
    by_code = {r.code: r for r in rules}
    ranked = rank(explain(accompanied(uncontradicted(found), by_code), by_code))
    return Diagnosis(
        recording,
        verdict(recording, ranked),
        tuple(ranked),
        tuple(skipped),
        coverage(recording),
    )


def reverdict(diagnosis: Diagnosis, findings: Sequence[Finding]) -> Diagnosis:
    """The diagnosis with other findings, ranked and judged anew."""
    ranked = rank(findings)
    return replace(diagnosis, findings=tuple(ranked), verdict=verdict(diagnosis.recording, ranked))


def uncontradicted(findings: Sequence[Finding]) -> list[Finding]:
    """Without an acquittal of a model that another finding blames: both in one answer would cancel out."""
    blamed = {f.model for f in findings if f.severity in ("error", "warning")}
    return [f for f in findings if f.code != ACQUITTAL or not blamed & {f.model, ""}]


def accompanied(findings: Sequence[Finding], rules: dict[str, Rule]) -> list[Finding]:
    """Without causes of nothing: a rule that is not to stand alone needs a symptom, and takes over its severity."""
    kept: list[Finding] = []
    for f in findings:
        rule = rules[f.code]
        if rule.alone:
            kept.append(f)
            continue
        caused = [s for s in findings if _is_symptom(s, f, rule)]
        if caused:
            worst = max(SEVERITIES.index(s.severity or "info") for s in caused)
            cap = SEVERITIES.index(rule.severity)
            kept.append(replace(f, severity=SEVERITIES[min(worst, cap)]))
    return kept


def explain(findings: Sequence[Finding], rules: dict[str, Rule]) -> list[Finding]:
    """Fold symptoms under causes.

    A rule's `explains` lists the codes of its symptoms. A cause takes over the severity of what it explains, up to its
    own rule's highest; it does not explain what is worse than that, and an info explains no more than infos.
    """
    cause_of: dict[int, int] = {}
    for i, symptom in enumerate(findings):
        causes = [k for k, c in enumerate(findings) if k != i and _explains(c, symptom, rules)]
        if causes:
            cause_of[i] = max(causes, key=lambda k: (_weight(findings[k]), -k))
    result: list[Finding] = []
    for i, f in enumerate(findings):
        root, seen = i, {i}
        while root in cause_of and cause_of[root] not in seen:
            root = cause_of[root]
            seen.add(root)
        if root != i:
            result.append(replace(f, explained_by=findings[root].code))
            continue
        inherited = [s for k, s in enumerate(findings) if _root(k, cause_of) == i]
        worst = max(SEVERITIES.index(s.severity or "info") for s in inherited)
        cap = SEVERITIES.index(rules[f.code].severity)
        result.append(replace(f, severity=SEVERITIES[min(worst, cap)]))
    return result


def _root(i: int, cause_of: dict[int, int]) -> int:
    seen = {i}
    while i in cause_of and cause_of[i] not in seen:
        i = cause_of[i]
        seen.add(i)
    return i


def _explains(cause: Finding, symptom: Finding, rules: dict[str, Rule]) -> bool:
    rule = rules[cause.code]
    strong = cause.severity != "info" or symptom.severity == "info"
    able = SEVERITIES.index(rule.severity) >= SEVERITIES.index(symptom.severity or "info")
    return _is_symptom(symptom, cause, rule) and strong and able


def _is_symptom(symptom: Finding, cause: Finding, rule: Rule) -> bool:
    """Whether what `rule` found may be the cause of `symptom`, by code, by model and, where the rule asks for it, by layer."""
    elsewhere = symptom.code in rule.at_its_layers and not set(symptom.layers[:1]) & set(
        cause.layers
    )
    return symptom.code in rule.explains and _related(cause, symptom) and not elsewhere


def _related(one: Finding, other: Finding) -> bool:
    return not one.model or not other.model or one.model == other.model


def _weight(f: Finding) -> tuple[int, int]:
    return SEVERITIES.index(f.severity or "info"), CONFIDENCES.index(f.confidence)


def rank(findings: Sequence[Finding]) -> list[Finding]:
    """Worst and surest causes first, of equals the one that explains more, each followed by its symptoms."""
    symptoms = sorted(
        (f for f in findings if f.explained_by), key=lambda f: (*(-w for w in _weight(f)), f.code)
    )
    loud = [s for s in symptoms if s.severity != "info"]

    def weight(cause: Finding) -> tuple[int, ...]:
        explained = sum(s.explained_by == cause.code and _related(cause, s) for s in loud)
        return (*_weight(cause), explained)

    causes = sorted(
        (f for f in findings if f.explained_by is None),
        key=lambda f: (*(-w for w in weight(f)), f.code),
    )
    ordered: list[Finding] = []
    for i, cause in enumerate(causes):
        ordered.append(cause)
        # A cause found in several models: each symptom goes below the one of its own model, others below the last.
        last = cause.code not in {c.code for c in causes[i + 1 :]}
        mine = [
            s for s in symptoms if s.explained_by == cause.code and (last or s.model == cause.model)
        ]
        ordered += mine
        symptoms = [s for s in symptoms if s not in mine]
    return ordered


def verdict(recording: Recording, ranked: Sequence[Finding]) -> Verdict:
    """One answer from ranked findings; what was never observed is not called healthy."""
    blamed = [f for f in ranked if f.severity in ("error", "warning") and not f.explained_by]
    if blamed:
        first = blamed[0]
        status: Status = "failing" if first.severity == "error" else "suspect"
        unsure = status == "suspect" and first.confidence == "low"
        return Verdict(status, first.code, None if unsure else True, first.message)
    if recording.events_of("keras") and not recording.models:
        return Verdict(
            "not_evaluated",
            None,
            None,
            "This is a model of Keras 2: it is not evaluated, because only Keras 3 and PyTorch are observed.",
        )
    if not recording.models:
        return Verdict("not_evaluated", None, None, _unseen(recording))
    if not any(m.norm_layers or m.unfollowed for m in recording.models.values()):
        return Verdict(
            "healthy",
            None,
            False,
            "The model has no normalization layer, so normalization is not to blame.",
        )
    if recording.status == CHECKED:
        return Verdict("healthy", None, None, _CHECKED[bool(recording.graphs)])
    if recording.status == PROBED:
        return _probed(recording, ranked)
    if not recording.steps:
        return Verdict("not_evaluated", None, None, "No training step was seen.")
    acquitted = next((f for f in ranked if f.code == ACQUITTAL), None)
    if acquitted:
        return Verdict("healthy", None, False, acquitted.message)
    if not any(m.norm_layers for m in recording.models.values()):
        return Verdict("not_evaluated", None, None, _UNFOLLOWED)
    return Verdict("healthy", None, False, "No fault of normalization was found.")


def _unseen(recording: Recording) -> str:
    """Why no model was seen: the script failed, or it has none."""
    crashes = recording.events_of("crash")
    told = f" The script ended with {crashes[0].detail}" if crashes else ""
    return f"No forward pass of a PyTorch model was seen.{told}"


_UNFOLLOWED = "Its batch norms run past `torch.nn.functional.batch_norm` and could not be followed."


def _probed(recording: Recording, ranked: Sequence[Finding]) -> Verdict:
    """Healthy by what was measured; nothing is known where nothing was."""
    if not recording.measurements:
        return Verdict("not_evaluated", None, None, "No probe was answered.")
    acquitted = next((f for f in ranked if f.code == ACQUITTAL), None)
    if acquitted:
        return Verdict("healthy", None, False, acquitted.message)
    asked = ", ".join(recording.measurements)
    return Verdict(
        "healthy",
        None,
        None,
        f"Nothing wrong was measured ({asked}). How it trains was not observed.",
    )


_CHECKED = {
    True: "Nothing wrong was found in the structure and the settings of the model. How it trains was not observed.",
    False: "Nothing wrong was found in the settings of the norm layers. The structure was not looked at: no input was given.",
}


def coverage(recording: Recording) -> Coverage:
    """What the recording's graphs and observers did not see."""
    opaque = dict.fromkeys(o for g in recording.graphs for o in g.coverage.opaque)
    silent = [
        f"{recording.models[x.model].name}.{x.path}" for x in _silent(recording, recording.graphs)
    ]
    notes = [g.coverage.note for g in recording.graphs if g.coverage.note]
    notes += [f"{e.kind}: {e.detail}" for e in recording.events if e.kind in NOTED]
    notes += [_unfollowed(m) for m in recording.models.values() if m.unfollowed]
    notes += _cadence(recording)
    return Coverage(tuple(opaque), tuple(silent), tuple(dict.fromkeys(notes)))


def _cadence(recording: Recording) -> list[str]:
    """How often the moving statistics were looked at, where they cannot be at every step."""
    compiled = recording.events_of("compiled-loop")
    if not compiled or recording.polls is None:
        return []
    steps = [int(s) for s in recording.polls.steps if s]
    backend = recording.backend
    return [
        f"cadence: steps are compiled ({backend}) and what they do was seen when they were traced; moving statistics were read "
        f"between them, at {len(set(steps))} of {recording.steps} steps"
    ]


def _unfollowed(model: Model) -> str:
    one = model.unfollowed == 1
    return (
        f"not-followed: {model.name}: {model.unfollowed} batch norm{'' if one else 's'} of a training forward ran past "
        f"`torch.nn.functional.batch_norm` (as `torch.batch_norm`, or compiled): nothing is known of {'it' if one else 'them'}"
    )


def _silent(recording: Recording, graphs: Sequence[Graph]) -> list[Layer]:
    """Norm layers that never ran; of a model that was only looked at, those that no graph holds."""
    if recording.trained:
        called = {c.layer for p in recording.patterns.values() for c in p.calls}
        # Calls inside compiled code are not seen: there nobody can say which layers never ran.
        seen = {recording.layers[i].model for i in called}
        hidden = {m.id for m in recording.models.values() if m.compiled}
        if recording.events_of("compiled"):
            hidden |= set(recording.models) - seen
        return [
            x
            for x in recording.layers.values()
            if x.id not in called and not x.updates and x.model not in hidden
        ]
    paths = {n.path for g in graphs for n, _ in g.norms()}
    return [x for x in recording.layers.values() if graphs and x.path not in paths]


NOTED = ("compiled", "observer-error", "stopped", "keras", "not-probed", "not-captured")
