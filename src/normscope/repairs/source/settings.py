"""Edits of the calls that built layers: NS101, NS201, NS202, NS205."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from normscope.finding import Finding
from normscope.record.recording import Layer, Recording
from normscope.record.written import WrittenKind
from normscope.repairs.source.edits import UNKNOWN, Proposal, Refusal
from normscope.repairs.source.remedies import keywords, models_of, setting


def bias(finding: Finding, recording: Recording) -> Iterator[Proposal]:
    """NS101: every layer that the call builds must have a bias that does nothing."""
    yield from _constructors(finding, recording, "affine", "bias", lambda _: True)


def momentum(finding: Finding, recording: Recording) -> Iterator[Proposal]:
    """NS201, NS202."""
    yield from _constructors(finding, recording, "norm", "momentum", lambda x: x.momentum)


def eps(finding: Finding, recording: Recording) -> Iterator[Proposal]:
    """NS205."""
    yield from _constructors(finding, recording, "norm", "eps", lambda x: x.eps)


def _constructors(
    finding: Finding,
    recording: Recording,
    kind: WrittenKind,
    keyword: str,
    value_of: Callable[[Layer], object],
) -> Iterator[Proposal]:
    value = keywords(finding).get(keyword)
    if value is None:
        return
    models = {m.id for m in models_of(finding, recording)}
    meant = set(finding.layers)
    seen: set[str] = set()
    for call in recording.written:
        members = [m for m in call.members if m.model in models]
        mine = {m.path for m in members} & meant
        if call.kind != kind or not mine:
            continue
        seen |= mine
        expected: object = True
        if kind == "norm":
            layers = [x for m in members if (x := recording.layer_at(m.model, m.path))]
            # A schedule may have changed the others: what they were built with is what they have now at the latest.
            values = {value_of(x) for x in layers}
            others = [x.path for x in layers if x.path not in meant]
            expected = values.pop() if len(values) == 1 else UNKNOWN
            wrong = others[:1] if expected is UNKNOWN else []
        else:
            wrong = [m.path for m in call.members if m.path not in meant]
        if wrong:
            yield Refusal(
                str(call.place), f"the same call builds `{wrong[0]}`, where `{keyword}` is right"
            )
        else:
            yield setting(call, keyword, value, expected)
    for path in sorted(meant - seen):
        yield Refusal(f"`{path}`", "no call of your own code was seen to build it")
