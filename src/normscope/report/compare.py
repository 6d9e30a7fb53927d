"""The report of a comparison for the terminal and as JSON; `normscope.report.html` draws it as a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

import normscope
from normscope.comparison import Comparison, GapSides, LossSummary, Sides
from normscope.diagnosis import Diagnosis
from normscope.finding import Finding
from normscope.probes.results import Gap, Reading
from normscope.report import change
from normscope.report.json import reported, unicode
from normscope.report.terminal import STYLE, paragraphs, show
from normscope.report.wording import finite, some

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text


def render(comparison: Comparison, console: Console) -> None:
    """Print what the change did, the findings, then both runs side by side."""
    from rich.table import Table
    from rich.text import Text

    c = comparison
    table = Table(box=None, pad_edge=False, header_style="bold dim", padding=(0, 3, 0, 0))
    table.add_column("", max_width=36, overflow="fold")
    table.add_column("Before", justify="right", max_width=18, overflow="fold")
    table.add_column("After", justify="right", max_width=18, overflow="fold")
    table.add_column("", style="dim")
    for row in change.rows(c):
        table.add_row(*map(Text, row))
    blocks: list[RenderableType] = [
        paragraphs(
            ("Change", [Text(change.leading(c), "bold")]),
            ("Gone", [_line(f) for f in c.gone]),
            ("New", [_line(f) for f in c.new]),
            ("Unchanged", [_line(f, _was(b, f)) for b, f in c.unchanged]),
            (
                "Not judged",
                [_line(f, " (before; its rule could not run after)") for f in c.unjudged],
            ),
            (
                "First judged",
                [_line(f, " (its rule could not run before)") for f in c.newly_judged],
            ),
            ("Mind", [Text(x) for x in change.caveats(c)]),
        ),
        "",
        table,
    ]
    show(blocks, console)


def _was(before: Finding, after: Finding) -> str:
    return "" if before.severity == after.severity else f" (was {before.severity})"


def _line(f: Finding, note: str = "") -> Text:
    from rich.text import Text

    where = f"  {some(f.layers)}" if f.layers else ""
    severity = f.severity or "info"
    return Text.assemble((f"{f.code} {f.name}", STYLE[severity]), f" ({severity}){where}{note}")


def to_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison as plain values: finite numbers or null."""
    c = comparison
    found = {
        "gone": c.gone,
        "new": c.new,
        "unchanged": [after for _, after in c.unchanged],
        "unjudged": c.unjudged,
        "newly_judged": c.newly_judged,
    }
    return {
        "schema": 1,
        "tool": {"name": "normscope", "version": normscope.__version__},
        "summary": unicode(change.leading(c)),
        "caveats": [unicode(x) for x in change.caveats(c)],
        "before": _run(c.before),
        "after": _run(c.after),
        "findings": {
            kind: [msgspec.to_builtins(reported(f)) for f in findings]
            for kind, findings in found.items()
        },
        "gap": [_gap(g) for g in c.gaps],
        "noise": [_sides(s) for s in c.noise],
        "loss": {"before": _loss(c.loss[0]), "after": _loss(c.loss[1])},
        "metrics": [_sides(s) for s in c.metrics],
    }


def dumps(comparison: Comparison) -> bytes:
    """The comparison as indented UTF-8 JSON."""
    return msgspec.json.format(msgspec.json.encode(to_json(comparison)), indent=2) + b"\n"


def _run(d: Diagnosis) -> dict[str, Any]:
    return {
        "target": unicode(d.recording.target),
        "steps": d.recording.steps,
        "status": d.verdict.status,
        "primary": d.verdict.primary,
    }


def _sides(s: Sides) -> dict[str, Any]:
    return {
        "name": unicode(s.name),
        "unit": s.unit,
        "before": finite(s.before),
        "after": finite(s.after),
    }


def _loss(x: LossSummary | None) -> dict[str, Any] | None:
    if x is None:
        return None
    return {"first": x.first, "final": x.final, "lowest": x.lowest, "values": x.values}


def _gap(g: GapSides) -> dict[str, Any]:
    return {
        "model": unicode(g.name),
        "comparable": g.comparable,
        "before": _readings(g.before),
        "after": _readings(g.after),
    }


def _readings(g: Gap | None) -> dict[str, Any] | None:
    if g is None:
        return None
    readings = {
        name: _reading(getattr(g, name))
        for name in ("batch", "population", "running", "stale", "inconsistent")
    }
    return {"measure": g.measure, "unit": unicode(g.unit), "samples": g.samples, **readings}


def _reading(r: Reading) -> dict[str, Any]:
    return {"value": finite(r.value), "noise": finite(r.noise)}
