"""Puts sections into the page. User text is escaped by the templates; data for the script is embedded as inert JSON."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

import normscope
from normscope.comparison import Comparison
from normscope.diagnosis import Diagnosis
from normscope.finding import Finding
from normscope.report import answer, change, probes
from normscope.report import trial as trials
from normscope.report.html import channels, forwards, gap, series
from normscope.report.html.figures import Section, Table, table
from normscope.report.wording import band, plain, reading, shortened, some, steps
from normscope.trials.answer import TrialAnswer

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

HERE = Path(__file__).parent
FINDINGS = 100  # on a page; the JSON report holds all


def to_html(diagnosis: Diagnosis) -> str:
    """The report of a diagnosis as one page that needs no other file and no network."""
    r = diagnosis.recording
    asked = [*gap.sections(r), channels.section(r), *probes.sections(r)]
    watched = [series.noise(r), forwards.sizes(r), forwards.modes(r), series.loss(r)]
    sections = [*asked, *watched] if r.trained else asked
    return _page("report.html.j2", sections, target=r.target, d=diagnosis)


def comparison_to_html(comparison: Comparison) -> str:
    """The report of a comparison as one page that needs no other file and no network."""
    sections = [*gap.compared(comparison), *series.compared(comparison)]
    before, after = comparison.before.recording.target, comparison.after.recording.target
    target = before if before == after else f"{before} → {after}"
    return _page("compare.html.j2", sections, target=target, c=comparison, sides=_sides(comparison))


def trial_to_html(trial: TrialAnswer, findings: Sequence[Finding]) -> str:
    """The report of a trial as one page that needs no other file and no network."""
    target = " ".join((trial.plan.target, *trial.plan.arguments))
    return _page(
        "trial.html.j2",
        list(trials.sections(trial)),
        target=target,
        t=trial,
        findings=findings,
        trials=trials,
    )


def _sides(c: Comparison) -> Table:
    rows = [list(row) for row in change.rows(c)]
    return table(["", "before", "after", "unit"], rows)


def _page(template: str, sections: list[Section], *, target: str, **words: Any) -> str:
    from markupsafe import Markup

    charts = {s.id: s.chart for s in sections if s.chart}
    return (
        _environment()
        .get_template(template)
        .render(
            **_vocabulary(),
            **words,
            target=shortened(target, 80),
            version=normscope.__version__,
            sections=sections,
            data=Markup(embedded(charts)),
            asset=_asset,
        )
    )


def embedded(value: object) -> str:
    """`value` as JSON that no HTML parser can leave: no `<`, `>`, `&`, and no line separators."""
    text = msgspec.json.encode(value).decode()
    for c in "<>&\u2028\u2029":
        text = text.replace(c, f"\\u{ord(c):04x}")
    return text


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    def shown(value: object) -> object:
        return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    return Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        finalize=shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _vocabulary() -> dict[str, Any]:
    """What the templates may call."""
    return {
        "answer": answer,
        "probes": probes,
        "change": change,
        "band": band,
        "reading": reading,
        "steps": steps,
        "shortened": shortened,
        "where": _where,
        "finding_limit": FINDINGS,
    }


def _where(finding: Finding) -> str:
    return some(finding.layers, 12)


def _asset(name: str) -> Markup:
    """One of our own files, put into the page as it is."""
    from markupsafe import Markup

    return Markup((HERE / name).read_text(encoding="utf-8"))
