"""From a finding to edits: the one table of which rule's findings can be mended in the source, and how."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from normscope.diagnosis import Diagnosis
from normscope.finding import Finding, Remedy
from normscope.record.recording import Recording
from normscope.repairs.source.edits import Proposal, Refusal
from normscope.repairs.source.loaders import loader
from normscope.repairs.source.modes import evaluation, training, training_flag
from normscope.repairs.source.settings import bias, eps, momentum

EDITS: Mapping[str, Callable[[Finding, Recording], Iterator[Proposal]]] = {
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
