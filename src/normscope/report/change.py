"""What a comparison says, in sentences that every form of its report shares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from normscope.comparison import Comparison, GapSides, Sides
from normscope.diagnosis import Diagnosis
from normscope.finding import Finding
from normscope.report.answer import STATUS
from normscope.report.wording import MISSING, count, number, shortened


def leading(c: Comparison) -> str:
    """What the change did, in one sentence."""
    before, after = c.before.verdict.status, c.after.verdict.status
    if before == after == "not_evaluated":
        return "Nothing can be said about the change: neither run was evaluated."
    if "not_evaluated" in (before, after):
        side = "before" if before == "not_evaluated" else "after"
        return f"Nothing can be said about the change: the run {side} was not evaluated."
    parts = [p for p in (_verdicts(c), _gap(c)) if p]
    return "; ".join(parts) + "."


def _verdicts(c: Comparison) -> str:
    before, after = STATUS[c.before.verdict.status], STATUS[c.after.verdict.status]
    found_before = {f.code for f in serious(c.before.findings)}
    found_after = {f.code for f in serious(c.after.findings)}
    gone = [f for f in serious(c.gone) if f.code not in found_after]
    new = [f for f in serious(c.new) if f.code not in found_before]
    moved = [f for f in serious(c.new) if f.code in found_before]
    eased = [b for b, a in c.unchanged if b in serious([b]) and a not in serious([a])]
    said: list[str] = []
    if gone or eased:
        said.append(f"removed {_names([*eased, *gone])}")
    if new:
        said.append(f"brought {_names(new)}")
    if moved:
        said.append(f"left {_names(moved)}, now at other layers")
    if said:
        moved = (
            f"the run was {before} and is {after}" if before != after else f"both runs are {after}"
        )
        return f"The change {' and '.join(said)}; {moved}"
    if serious(c.unjudged):
        return f"It cannot be said whether {_names(serious(c.unjudged))} is gone: the run after was not judged for it"
    if serious(c.newly_judged):
        return (
            f"It cannot be said whether {_names(serious(c.newly_judged))} is new: "
            "the run before was not judged for it"
        )
    if before != after:
        return f"The same faults were found in both runs, but the verdict went from {before} to {after}"
    kept = serious([a for _, a in c.unchanged])
    if kept:
        return f"The change did not remove {_names(kept)}: both runs are {after}"
    return "No fault of normalization was found in either run, so there was none to remove"


def _gap(c: Comparison) -> str:
    """The staleness gap, only where both runs measured it and it moved beyond the noise of both."""
    for sides in c.gaps:
        if sides.comparable and (b := sides.before) and (a := sides.after):
            move = abs(a.stale.value - b.stale.value)
            if move > 2 * (a.stale.noise**2 + b.stale.noise**2) ** 0.5:
                return (
                    f"running statistics cost {number(b.stale.value)} {shortened(b.unit, 24)} over recomputed "
                    f"ones before and {number(a.stale.value)} after"
                )
    return ""


def serious(findings: Sequence[Finding]) -> list[Finding]:
    """Unexplained errors and warnings: what a verdict rests on."""
    return [f for f in findings if f.severity in ("error", "warning") and f.explained_by is None]


def _names(findings: Sequence[Finding]) -> str:
    names = list(dict.fromkeys(f"{f.code} {f.name}" for f in findings))
    if len(names) > 3:
        return f"{', '.join(names[:3])} and {len(names) - 3} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def caveats(c: Comparison) -> Iterator[str]:
    """What limits the comparison."""
    b, a = c.steps
    if b != a and min(b, a) < 0.9 * max(b, a):
        yield f"The runs differ in length: {count(b, 'step')} before, {count(a, 'step')} after."
    if c.before.recording.framework != c.after.recording.framework:
        yield "The runs used different frameworks."
    for sides in c.gaps:
        if sides.before and sides.after and not sides.comparable:
            yield (
                f"The gap of {shortened(sides.name)} was measured in {shortened(sides.before.unit, 24)} before and in "
                f"{shortened(sides.after.unit, 24)} after, so it is not compared."
            )
    if any(c.loss) or c.metrics:
        yield "One run each: a difference of loss or metric may be chance."


def verdict(diagnosis: Diagnosis) -> str:
    """Status and code of one run."""
    code = f" {diagnosis.verdict.primary}" if diagnosis.verdict.primary else ""
    return STATUS[diagnosis.verdict.status] + code


def rows(c: Comparison) -> Iterator[tuple[str, str, str, str]]:
    """What, before, after, unit: everything that stands side by side."""
    yield "verdict", verdict(c.before), verdict(c.after), ""
    yield "training steps", f"{c.steps[0]:,}", f"{c.steps[1]:,}", ""
    b, a = c.loss
    if b or a:
        yield "loss, first", number(b and b.first), number(a and a.first), ""
        yield "loss, final", number(b and b.final), number(a and a.final), ""
        yield "loss, lowest", number(b and b.lowest), number(a and a.lowest), ""
    for sides in c.metrics:
        yield _side(sides)
    for gap in c.gaps:
        yield from _gap_rows(gap)
    for sides in c.noise:
        yield _side(sides)


def _side(s: Sides) -> tuple[str, str, str, str]:
    return shortened(s.name), number(s.before), number(s.after), "" if s.unit == "1" else s.unit


def _gap_rows(g: GapSides) -> Iterator[tuple[str, str, str, str]]:
    known = g.after or g.before
    if known is None or (g.before and g.after and not g.comparable):
        return
    of = f"{known.measure} of {shortened(g.name, 20)}"
    unit = shortened(known.unit, 24)
    for letter, what in (
        ("batch", "A batch"),
        ("population", "B recomputed"),
        ("running", "C running"),
    ):
        b = number(getattr(g.before, letter).value) if g.before else MISSING
        a = number(getattr(g.after, letter).value) if g.after else MISSING
        yield f"{of}, {what}", b, a, unit
