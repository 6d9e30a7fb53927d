"""SARIF 2.1.0, as code scanning services read it. A result has the line that was seen, or no place at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

import normscope
from normscope import catalogue
from normscope.diagnosis import Diagnosis
from normscope.finding import Finding, Severity
from normscope.fingerprint import fingerprint
from normscope.report.json import unicode
from normscope.rule import Rule

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"
LEVELS: dict[Severity, str] = {"info": "note", "warning": "warning", "error": "error"}


def sarif(diagnosis: Diagnosis) -> dict[str, Any]:
    """The log: one run, one result per finding that no other one explains away."""
    rules = catalogue.rules()
    index = {r.code: i for i, r in enumerate(rules)}
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "normscope",
                        "version": normscope.__version__,
                        "rules": [_rule(r) for r in rules],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(f, index) for f in diagnosis.findings if not f.explained_by],
            }
        ],
    }


def dumps(diagnosis: Diagnosis) -> bytes:
    """The log as indented UTF-8 JSON."""
    return msgspec.json.format(msgspec.json.encode(sarif(diagnosis)), indent=2) + b"\n"


def _rule(rule: Rule) -> dict[str, Any]:
    sections = rule.sections
    return {
        "id": rule.code,
        "name": rule.name,
        "shortDescription": {"text": sections[""]},
        "fullDescription": {"text": sections["What it checks"]},
        "help": {"text": sections["Repair"]},
        "defaultConfiguration": {"level": LEVELS[rule.severity], "enabled": rule.default},
    }


def _result(finding: Finding, index: dict[str, int]) -> dict[str, Any]:
    place: dict[str, Any] = {}
    if finding.site is not None:
        artifact = {"uri": _uri(finding.site.file)}
        place["physicalLocation"] = {
            "artifactLocation": artifact,
            "region": {"startLine": finding.site.line},
        }
    if finding.layers:
        owner = f"{finding.model}." if finding.model else ""
        place["logicalLocations"] = [
            {"fullyQualifiedName": unicode(f"{owner}{x}"), "kind": "member"} for x in finding.layers
        ]
    return {
        "ruleId": finding.code,
        "ruleIndex": index[finding.code],
        "level": LEVELS[finding.severity or "info"],
        "message": {"text": unicode(finding.message)},
        "partialFingerprints": {"normscope/v1": fingerprint(finding)},
        **({"locations": [place]} if place else {}),
    }


def _uri(file: str) -> str:
    """Relative to where the command ran, where the file lies below; services resolve that against the repository."""
    path = Path(file)
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())
