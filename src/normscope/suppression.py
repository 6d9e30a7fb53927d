"""Findings that the user knows already: per-layer ignores that carry a reason, and a baseline of earlier findings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import msgspec

from normscope.config import Ignore
from normscope.diagnosis import Diagnosis, reverdict
from normscope.errors import NormscopeError
from normscope.finding import Finding
from normscope.fingerprint import fingerprint
from normscope.report.json import unicode


class _Known(msgspec.Struct):
    """What it is is said by the fingerprint; the rest is for readers."""

    fingerprint: str
    code: str
    model: str
    layers: list[str]
    message: str


class _Baseline(msgspec.Struct, rename={"version": "normscope-baseline"}):
    version: Literal[1]
    findings: list[_Known]


def without(
    diagnosis: Diagnosis, ignores: Sequence[Ignore] = (), known: Iterable[str] = ()
) -> Diagnosis:
    """The diagnosis without what is known: layers that are ignored, and findings whose fingerprint is in `known`.

    A finding stays while one of its layers is not ignored, and is then about the others alone. Symptoms of a finding that
    goes are judged by themselves.
    """
    old = set(known)
    kept: list[Finding] = []
    for finding in diagnosis.findings:
        if fingerprint(finding) in old:
            continue
        layers = tuple(
            x for x in finding.layers if not any(i.covers(finding.code, x) for i in ignores)
        )
        if finding.layers and not layers:
            continue
        if not finding.layers and any(i.covers(finding.code, "*") for i in ignores):
            continue
        kept.append(finding if layers == finding.layers else replace(finding, layers=layers))
    if len(kept) == len(diagnosis.findings) and tuple(kept) == diagnosis.findings:
        return diagnosis
    causes = {f.code for f in kept}
    freed = [
        f if f.explained_by is None or f.explained_by in causes else replace(f, explained_by=None)
        for f in kept
    ]
    return reverdict(diagnosis, freed)


def read_baseline(path: Path) -> frozenset[str]:
    """The fingerprints in a baseline. Raises NormscopeError for a file that is none."""
    hint = f"Write one with `--write-baseline {path}`."
    try:
        told = msgspec.json.decode(path.read_bytes(), type=_Baseline)
    except OSError as error:
        raise NormscopeError(
            f"Cannot read the baseline `{path}`: {error.strerror}. {hint}"
        ) from None
    except msgspec.DecodeError:
        raise NormscopeError(f"`{path}` is no baseline of normscope. {hint}") from None
    return frozenset(f.fingerprint for f in told.findings)


def baseline_of(diagnosis: Diagnosis) -> bytes:
    """All findings as a baseline: fingerprints, and beside each what a reader needs to know which it is."""
    findings = [
        _Known(
            fingerprint(f),
            f.code,
            unicode(f.model),
            [unicode(x) for x in f.layers],
            unicode(f.message),
        )
        for f in sorted(diagnosis.findings, key=lambda f: (f.code, f.model, f.layers))
    ]
    return msgspec.json.format(msgspec.json.encode(_Baseline(1, findings)), indent=2) + b"\n"
