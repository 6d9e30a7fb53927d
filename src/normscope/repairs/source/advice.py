"""All edits for the findings of one recording, carried out on the files as they were in the run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from normscope.errors import NormscopeError
from normscope.finding import Finding
from normscope.record.recording import Recording
from normscope.repairs.source.edits import (
    Edit,
    EvaluationMode,
    FollowMode,
    LeaveOut,
    Refusal,
    RefusedError,
    SetKeyword,
    TrainingMode,
)
from normscope.repairs.source.patch import diff
from normscope.repairs.source.proposals import EDITS, proposals

if TYPE_CHECKING:
    from normscope.repairs.source.script import Script


@dataclass(frozen=True, slots=True)
class Advice:
    """What to change for one finding: a diff that follows those of the findings before it, and what was refused."""

    finding: Finding
    diff: str
    refusals: tuple[Refusal, ...]


@dataclass(slots=True)
class File:
    """A file of the user's: as it is, and as it is to be. `name` is how it is shown."""

    name: str
    path: Path
    before: bytes
    encoding: str = "utf-8"
    edits: list[Edit] = field(default_factory=list[Edit])
    after: bytes = b""

    @property
    def diff(self) -> str:
        return diff(self.name, self.before, self.after, self.encoding)


@dataclass(frozen=True, slots=True)
class Plan:
    advice: tuple[Advice, ...]
    files: tuple[File, ...]  # those that change


def wanted(findings: Iterable[Finding], codes: Sequence[str] = ()) -> list[Finding]:
    """The findings that an edit is looked for: causes, not their symptoms.

    A remark is among them only where the function stays the same and nothing worse was found: one change at a time, for
    even a bias less draws other initial weights. `codes` asks for others.
    """
    findings = list(findings)
    found = [f for f in findings if f.code in EDITS]
    if codes:
        return [f for f in found if f.code in codes]
    causes = [f for f in found if f.explained_by is None]
    worse = any(f.severity != "info" for f in findings)
    exact = [f for f in causes if any(r.kind == "exact" for r in f.repairs)]
    return [f for f in causes if f.severity != "info"] if worse else exact


def plan(recording: Recording, findings: Iterable[Finding]) -> Plan:
    """The advice for each finding, in their order. Raises NormscopeError when libcst is not there."""
    need_libcst()
    files: dict[str, File] = {}
    advice = [_advised(finding, recording, files) for finding in findings]
    changed = tuple(f for f in files.values() if f.after != f.before)
    return Plan(tuple(advice), changed)


def need_libcst() -> None:
    try:
        import libcst  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ModuleNotFoundError:
        raise NormscopeError(
            "Advice on source files needs the package libcst: `pip install 'normscope[repair]'`."
        ) from None


def _advised(finding: Finding, recording: Recording, files: dict[str, File]) -> Advice:
    refusals: list[Refusal] = []
    before: dict[str, bytes] = {}
    for proposal in proposals(finding, recording):
        if isinstance(proposal, Refusal):
            refusals.append(proposal)
            continue
        try:
            file = _file(proposal.place.file, recording, files)
            after = edited(file.before, [*file.edits, proposal])
        except RefusedError as reason:
            refusals.append(Refusal(str(proposal.place), str(reason)))
            continue
        before.setdefault(file.name, file.after)
        file.edits.append(proposal)
        file.after = after
    text = "".join(
        diff(name, old, files[name].after, files[name].encoding) for name, old in before.items()
    )
    return Advice(finding, text, tuple(refusals))


def _file(name: str, recording: Recording, files: dict[str, File]) -> File:
    """The file, once it is known to be the one that ran. Raises RefusedError."""
    if name in files:
        return files[name]
    source = recording.sources.get(name)
    if source is None:
        raise RefusedError("there is no such file: the code was generated, or typed in")
    if not source.digest:
        raise RefusedError(f"`{name}` was changed while the run went on")
    for path in (Path(source.path), Path(name)):
        try:
            content = path.read_bytes()
        except OSError:
            continue
        if hashlib.sha256(content).hexdigest() == source.digest:
            from normscope.repairs.source.script import Script

            encoding = Script(content).module.encoding
            files[name] = File(name, path, content, encoding, after=content)
            return files[name]
    raise RefusedError(f"`{name}` is not as it was in the run: run it again")


def edited(source: bytes, edits: Iterable[Edit]) -> bytes:
    """The source with all edits. Raises RefusedError when one does not find what it expects, or nothing would compile."""
    from normscope.repairs.source.script import Script

    script = Script(source)
    for edit in edits:
        _carry_out(script, edit)
    after = script.bytes()
    try:
        compile(after, "edited", "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        raise RefusedError(f"the edited file would not compile ({error})") from None
    return after


def _carry_out(script: Script, edit: Edit) -> None:
    from normscope.repairs.source.evaluation_mode import evaluate
    from normscope.repairs.source.following_mode import follow_mode
    from normscope.repairs.source.keyword import set_keyword
    from normscope.repairs.source.short_batches import leave_out
    from normscope.repairs.source.training_mode import train

    match edit:
        case SetKeyword():
            set_keyword(script, edit)
        case EvaluationMode():
            evaluate(script, edit)
        case TrainingMode():
            train(script, edit)
        case LeaveOut():
            leave_out(script, edit)
        case FollowMode():
            follow_mode(script, edit)
