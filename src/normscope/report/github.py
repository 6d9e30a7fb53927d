"""Workflow commands of GitHub Actions: findings appear beside the line that they are about."""

from __future__ import annotations

from normscope.diagnosis import Diagnosis
from normscope.finding import Finding
from normscope.report.wording import plain

COMMANDS = {"info": "notice", "warning": "warning", "error": "error"}


def workflow_commands(diagnosis: Diagnosis) -> str:
    """One line per finding that no other one explains."""
    return "".join(f"{_line(f)}\n" for f in diagnosis.findings if not f.explained_by)


def _line(finding: Finding) -> str:
    properties = {"title": f"{finding.code} {finding.name}"}
    if finding.site is not None:
        properties = {"file": finding.site.file, "line": str(finding.site.line)} | properties
    told = ",".join(f"{k}={_property(plain(v))}" for k, v in properties.items())
    return f"::{COMMANDS[finding.severity or 'info']} {told}::{_data(plain(finding.message))}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
