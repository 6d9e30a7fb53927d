"""What a finding asks for, in the words of an edit: the keyword arguments of its remedies, and its models."""

from __future__ import annotations

import ast

from normscope.finding import Finding
from normscope.record.recording import Model, Recording
from normscope.record.written import Written
from normscope.repairs.source.edits import UNKNOWN, Proposal, Refusal, SetKeyword


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


def setting(call: Written, keyword: str, value: str, expected: object = UNKNOWN) -> Proposal:
    """The edit that has a call pass a keyword, where the function that it enters takes it."""
    if keyword not in call.parameters and not call.open:
        return Refusal(
            str(call.place), f"the call enters `{call.enters}`, which takes no `{keyword}`"
        )
    return SetKeyword(call.place, keyword, value, call.parameters, call.open, expected)


def models_of(finding: Finding, recording: Recording) -> list[Model]:
    """The models that the finding is about: those of its name, all where it names none; of several, those at its line."""
    named = [m for m in recording.models.values() if finding.model in ("", m.name)]
    here = _at_the_line(finding, recording) if len(named) > 1 else set[int]()
    return [m for m in named if m.id in here] or named


def _at_the_line(finding: Finding, recording: Recording) -> set[int]:
    """The models of which a layer of the finding, or the model itself, was called in the finding's line."""
    site, paths = finding.site, finding.layers
    if site is None:
        return set()
    return (
        {x.model for x in recording.layers.values() if x.path in paths and x.site == site}
        | {g.model for g in recording.graphs for n in g if n.path in paths and n.site == site}
        | {p.model for p in recording.patterns.values() if p.site == site}
    )
