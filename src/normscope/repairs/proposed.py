"""The repairs of a model that a finding proposes, as commands: for one that is trained already, or is to be trained on. Imports no framework."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from normscope.diagnosis import Diagnosis
from normscope.finding import Finding, Remedy
from normscope.repairs.source.remedies import keywords
from normscope.repairs.table import REPAIRS, repairs_for


def with_repairs(diagnosis: Diagnosis) -> Diagnosis:
    """The diagnosis whose findings name the commands of `normscope repair` that mend what they found, last.

    Remarks get none, save where a repair is exact.
    """
    keras = diagnosis.recording.framework == "keras"
    findings = tuple(
        replace(f, repairs=(*f.repairs, *_commands(f, keras=keras)))
        if f.severity != "info" or any(r.kind == "exact" for r in f.repairs)
        else f
        for f in diagnosis.findings
    )
    return replace(diagnosis, findings=findings)


def _commands(finding: Finding, *, keras: bool) -> Iterator[Remedy]:
    told = " ".join(r.command for r in finding.repairs)
    for name in repairs_for(finding.code):
        repair = REPAIRS[name]
        if f"normscope repair {name} " in told or (keras and not repair.keras):
            continue
        words = f" --momentum {m}" if name == "set-momentum" and (m := _momentum(finding)) else ""
        if name == "set-momentum" and not words:
            continue
        out = "repaired.weights.h5" if keras else "repaired.safetensors"
        yield Remedy(name, repair.kind, f"normscope repair {name} file.py:setup{words} -o {out}")


def _momentum(finding: Finding) -> str:
    return keywords(finding).get("momentum", "")
