"""Runs rules on evidence: findings stamped with their rule, and what could not be evaluated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from normscope.evidence import Evidence, Facts
from normscope.finding import SEVERITIES, Finding, NotEvaluated
from normscope.record.recording import Recording
from normscope.rule import Rule, needs


def run(rules: Iterable[Rule], evidence: Evidence) -> tuple[list[Finding], list[NotEvaluated]]:
    """Every rule on every piece of evidence that it asks for."""
    findings: list[Finding] = []
    skipped: list[NotEvaluated] = []
    for rule in rules:
        able = [c for c in rule.checks if not evidence.missing(needs(c))]
        if not able:
            # The last way to judge asks for least: what it lacks is nearest at hand.
            missing = evidence.missing(needs(rule.checks[-1])) or ""
            skipped.append(NotEvaluated(rule.code, missing, evidence.hints.get(missing, "")))
            continue
        for bound in evidence.bind(needs(able[0])):
            model = subject(bound, evidence)
            findings += [stamp(rule, f, model) for f in able[0](**bound)]
    return list(dict.fromkeys(findings)), skipped


def subject(bound: Mapping[str, Any], evidence: Evidence) -> str:
    """The name of the one model that `bound` is about, `""` when it is not known.

    A graph knows its model by number only, so a rule that asks for nothing else cannot name it.
    """
    numbers = {v.model for v in bound.values() if isinstance(getattr(v, "model", None), int)}
    if len(numbers) != 1:
        return ""
    number = numbers.pop()
    recordings = [r for r in evidence.values.get("recording", []) if isinstance(r, Recording)]
    if recordings and number in recordings[0].models:
        return recordings[0].models[number].name
    facts = [f for f in evidence.values.get("facts", []) if isinstance(f, Facts)]
    return next((f.name for f in facts if f.model == number), "")


def stamp(rule: Rule, finding: Finding, model: str = "") -> Finding:
    """The finding with its rule's code, name and, where it has none, severity and `model`.

    Raises ValueError when a rule gives more than its own highest severity: a mistake in the rule.
    """
    severity = finding.severity or rule.severity
    if SEVERITIES.index(severity) > SEVERITIES.index(rule.severity):
        raise ValueError(f"{rule.code} may give at most `{rule.severity}`, but gave `{severity}`.")
    return replace(
        finding,
        code=rule.code,
        name=rule.name,
        severity=severity,
        model=finding.model or model,
        layers=tuple(
            x for x in finding.layers if x
        ),  # the model itself, and bare functions, have no path
    )
