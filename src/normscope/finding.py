"""What a rule yields and every report reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from normscope.graph.model import Site

Severity = Literal["info", "warning", "error"]
Confidence = Literal["low", "medium", "high"]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "error")
CONFIDENCES: tuple[Confidence, ...] = ("low", "medium", "high")


@dataclass(frozen=True, slots=True)
class Measured:
    """A number, its unit, and the band it was judged against (`None`: open on that side).

    `noise` is the uncertainty of `value` in the same unit, where it is known.
    """

    name: str
    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    noise: float | None = None


@dataclass(frozen=True, slots=True)
class Steps:
    """Where in the run it happened: the first and the last step, and how often."""

    first: int
    last: int
    count: int


@dataclass(frozen=True, slots=True)
class Remedy:
    """A repair that the finding proposes.

    `exact` keeps the function up to rounding. `command` is a command line or the line of code to change.
    """

    name: str
    kind: Literal["exact", "changes-function"]
    command: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer of one rule. `code`, `name` and a missing `severity` are filled in by the engine."""

    message: str
    severity: Severity | None = None
    confidence: Confidence = "high"
    model: str = ""
    layers: tuple[str, ...] = ()
    site: Site | None = None
    steps: Steps | None = None
    measured: tuple[Measured, ...] = ()
    repairs: tuple[Remedy, ...] = ()
    code: str = ""
    name: str = ""
    explained_by: str | None = None


@dataclass(frozen=True, slots=True)
class NotEvaluated:
    """The rule could not run. Never shown as a pass."""

    code: str
    needs: str
    hint: str
