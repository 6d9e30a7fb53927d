"""The JSON report, version 1: finite numbers or null, causes before symptoms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, cast

import msgspec

import normscope
from normscope.diagnosis import Diagnosis, Status
from normscope.finding import Confidence, Finding, Severity
from normscope.record.recording import Recording
from normscope.report import probes
from normscope.report.wording import finite


class Tool(msgspec.Struct, frozen=True):
    """What wrote the report."""

    name: str
    version: str


class SubjectModel(msgspec.Struct, frozen=True):
    """A model that the script called, by class name."""

    name: str
    norm_layers: int


class Subject(msgspec.Struct, frozen=True):
    """What was observed."""

    framework: str
    target: str
    models: list[SubjectModel]
    steps: int


class Verdict(msgspec.Struct, frozen=True):
    """The answer. `primary` is the code of the root cause; `normalization_to_blame` null means unknown."""

    status: Status
    primary: str | None
    normalization_to_blame: bool | None
    summary: str


class Site(msgspec.Struct, frozen=True):
    """A line of the user's code."""

    file: str
    line: int


class Steps(msgspec.Struct, frozen=True):
    """First and last training step at which it was seen, and how often."""

    first: int
    last: int
    count: int


class Measured(msgspec.Struct, frozen=True):
    """A number with unit and the band that it was judged against; null: open, unknown or not finite."""

    name: str
    value: float | None
    unit: str
    low: float | None
    high: float | None
    noise: float | None


class Repair(msgspec.Struct, frozen=True):
    """A proposed remedy."""

    name: str
    kind: Literal["exact", "changes-function"]
    command: str


class ReportedFinding(msgspec.Struct, frozen=True):
    """One finding; `explained_by` is the code of its cause."""

    code: str
    name: str
    severity: Severity
    confidence: Confidence
    message: str
    model: str
    layers: list[str]
    site: Site | None
    steps: Steps | None
    measured: list[Measured]
    explained_by: str | None
    repairs: list[Repair]


class NotEvaluated(msgspec.Struct, frozen=True):
    """A rule that could not run, and the evidence that it missed."""

    code: str
    needs: str
    hint: str


class Coverage(msgspec.Struct, frozen=True):
    """What was not understood or not seen."""

    opaque_operations: list[str]
    unobserved_layers: list[str]
    notes: list[str]


class Cost(msgspec.Struct, frozen=True):
    """Shares of the training loop's time: allowed, and measured (null: no loop was seen)."""

    budget: float
    overhead: float | None


class Probe(msgspec.Struct, frozen=True):
    """What one probe answered: in words, and all of its numbers by name (see `normscope.probes`)."""

    name: str
    sentence: str
    answer: dict[str, Any]


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """The report of one run, or of the probes that were asked; only the latter has `probes`."""

    schema: Literal[1]
    tool: Tool
    subject: Subject
    verdict: Verdict
    findings: list[ReportedFinding]
    not_evaluated: list[NotEvaluated]
    coverage: Coverage
    cost: Cost
    probes: list[Probe] = []


def report(diagnosis: Diagnosis) -> Report:
    """The diagnosis as the value that is written."""
    recording, verdict, seen = diagnosis.recording, diagnosis.verdict, diagnosis.coverage
    measured = recording.cost.loop > 0
    return Report(
        schema=1,
        tool=Tool("normscope", normscope.__version__),
        subject=Subject(
            recording.framework,
            unicode(recording.target),
            [SubjectModel(unicode(m.name), m.norm_layers) for m in recording.models.values()],
            recording.steps,
        ),
        verdict=Verdict(
            verdict.status,
            verdict.primary,
            verdict.normalization_to_blame,
            unicode(verdict.summary),
        ),
        findings=[reported(f) for f in diagnosis.findings],
        not_evaluated=[
            NotEvaluated(n.code, unicode(n.needs), unicode(n.hint)) for n in diagnosis.not_evaluated
        ],
        coverage=Coverage(
            [unicode(o) for o in seen.opaque_operations],
            [unicode(x) for x in seen.unobserved_layers],
            [unicode(n) for n in seen.notes],
        ),
        cost=Cost(recording.cost.budget, finite(recording.cost.overhead) if measured else None),
        probes=[] if recording.trained else list(_probes(recording)),
    )


def _probes(recording: Recording) -> Iterator[Probe]:
    for name, answers in recording.measurements.items():
        for answer in answers:
            said = probes.sentence(name, answer)
            plain = msgspec.to_builtins(answer, enc_hook=_summary)
            yield Probe(name, unicode(said), _numbers(plain))


def _summary(values: Any) -> dict[str, float]:
    """Of an array, as the weights of two models that were compared: a report is no place for all of them."""
    return {"values": values.size, "mean": float(values.mean()), "sd": float(values.std())}


def _numbers(value: Any) -> Any:
    """Plain values with null for what is not finite."""
    match value:
        case dict():
            return {str(k): _numbers(v) for k, v in cast("dict[Any, Any]", value).items()}
        case list() | tuple():
            return [_numbers(v) for v in cast("list[Any]", value)]
        case str():
            return unicode(value)
        case float():
            return finite(value)
        case _:
            return value


def reported(f: Finding) -> ReportedFinding:
    """One finding as it is written."""
    return ReportedFinding(
        code=f.code,
        name=f.name,
        severity=f.severity or "info",
        confidence=f.confidence,
        message=unicode(f.message),
        model=unicode(f.model),
        layers=[unicode(x) for x in f.layers],
        site=Site(unicode(f.site.file), f.site.line) if f.site else None,
        steps=Steps(f.steps.first, f.steps.last, f.steps.count) if f.steps else None,
        measured=[
            Measured(
                unicode(m.name),
                finite(m.value),
                m.unit,
                finite(m.low),
                finite(m.high),
                finite(m.noise),
            )
            for m in f.measured
        ],
        explained_by=f.explained_by,
        repairs=[Repair(r.name, r.kind, unicode(r.command)) for r in f.repairs],
    )


def unicode(text: str) -> str:
    """`text` with undecodable bytes of file names (lone surrogates) written as escapes, as JSON demands."""
    return text.encode("utf-8", "backslashreplace").decode()


def to_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """The report as plain values, ready for any JSON encoder."""
    return msgspec.to_builtins(report(diagnosis))


def dumps(diagnosis: Diagnosis) -> bytes:
    """The report as indented UTF-8 JSON."""
    return msgspec.json.format(msgspec.json.encode(report(diagnosis)), indent=2) + b"\n"


def schema() -> dict[str, Any]:
    """The JSON Schema of version 1, generated from the types above."""
    head = {"title": "normscope report, version 1"}
    return head | msgspec.json.schema(Report)


def dumps_schema() -> bytes:
    """The schema as it is kept in the documentation."""
    return msgspec.json.format(msgspec.json.encode(schema()), indent=2) + b"\n"
