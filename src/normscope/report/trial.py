"""The answer of a trial in words: on the terminal, as JSON, and as figures for the page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

import normscope
from normscope.finding import Finding
from normscope.report import json as reports  # imports this module as well, by the page
from normscope.report.html.figures import Chart, Group, Line, Panel, Section, table
from normscope.report.terminal import STYLE, paragraphs, show
from normscope.report.wording import MISSING, count, number, plain, shortened
from normscope.trials.answer import ArmAnswer, TrialAnswer
from normscope.trials.arms import AS_IS

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

HEAD = ("arm", "mean", "difference", "p", "", "time", "memory")
SHORT = {"no significant difference": "not signif."}  # fits a terminal of 80 columns


def headline(trial: TrialAnswer) -> str:
    """What the trial shows, in a sentence or two."""
    base = trial.as_is
    better, worse = trial.with_outcome("better"), trial.with_outcome("worse")
    seeds = count(len(base.runs), "seed")
    if not any(a.compared and a.compared.outcome != "not compared" for a in trial.arms):
        return f"Nothing can be concluded: {_refusal(trial)}."
    parts: list[str] = []
    if better:
        best = better[0]
        ahead = trial.arms.index(best)
        parts.append(
            f"`{best.name}` does {'better' if ahead else 'best'}: {trial.plan.title} {_value(best.mean)}, {_difference(best)} "
            f"against the script as it is, over {seeds}."
        )
        if ahead:
            names = ", ".join(f"`{a.name}`" for a in trial.arms[:ahead])
            parts.append(f"Ahead of it, but not significant: {names}.")
        if len(better) > 1:
            parts.append(f"Also better: {', '.join(a.name for a in better[1:])}.")
    else:
        parts.append(
            f"No significant difference in favour of any arm: none does better than the script as it is, over {seeds}."
        )
    if worse:
        parts.append(f"Worse: {', '.join(a.name for a in worse)}.")
    return " ".join(parts)


def _refusal(trial: TrialAnswer) -> str:
    reasons = [a.compared.reason for a in trial.arms if a.compared and a.compared.reason]
    if reasons:
        return reasons[0]
    return next((a.reason for a in trial.arms if a.reason), "no arm was compared")


def _difference(arm: ArmAnswer) -> str:
    c = arm.compared
    if c is None or c.difference is None:
        return MISSING
    return _signed(c.difference) if c.low is None else f"{_signed(c.difference)} ({_interval(arm)})"


def _interval(arm: ArmAnswer) -> str:
    c = arm.compared
    if c is None or c.low is None or c.high is None:
        return MISSING
    return f"{_rough(c.low)} to {_rough(c.high)}"


def _signed(value: float) -> str:
    return f"+{number(value)}" if value > 0 else number(value)


def _rough(value: float) -> str:
    """Two digits: the ends of an interval are no surer than that, and a row must fit a terminal."""
    return _signed(float(f"{value:.2g}"))


def _value(value: float | None) -> str:
    return number(value)


def rows(trial: TrialAnswer) -> list[list[str]]:
    """A row for each arm that has a mean, the best first."""
    return [_row(a) for a in trial.arms if a.mean is not None]


def _row(arm: ArmAnswer) -> list[str]:
    c = arm.compared
    if arm.name == AS_IS:
        return [arm.name, _with_spread(arm), *[""] * 5]
    return [
        arm.name,
        _with_spread(arm),
        _difference(arm),
        MISSING if c is None or c.p is None else ("< 0.001" if c.p < 0.001 else f"{c.p:.2g}"),
        "" if c is None else c.outcome,
        MISSING if arm.time is None else f"× {arm.time:.2f}",
        MISSING if (m := arm.device_memory or arm.memory) is None else f"× {m:.2f}",
    ]


def _with_spread(arm: ArmAnswer) -> str:
    return number(arm.mean) if arm.spread is None else f"{number(arm.mean)} ± {number(arm.spread)}"


def remarks(trial: TrialAnswer) -> Iterator[str]:
    """Arms of which there is something to say besides numbers."""
    for arm in trial.arms:
        if arm.reason:
            yield f"{arm.name}: {plain(arm.reason)}."
        if arm.stood_for:
            yield f"{arm.name} is the baseline, an arm by chance at each seed: {', '.join(arm.stood_for)}."


def basis(trial: TrialAnswer) -> Iterator[str]:
    """What the numbers rest on."""
    others = [a for a in trial.arms if a.compared is not None]
    better = "higher" if trial.plan.higher_is_better else "lower"
    yield f"Metric: {plain(trial.plan.metric)} ({better} is better), the last value of each run; ± is the standard deviation over seeds."
    if others:
        held = (
            f"p (Holm) and intervals (Bonferroni) hold for all {len(others)} comparisons together, at"
            if len(others) > 1
            else "the interval is at"
        )
        yield f"Differences are paired by seed; {held} {1 - trial.level:.0%}. Time and memory: the median ratio to the script as it is."
    if any(_reaches_beyond_0(a) for a in others):
        yield "An arm whose interval reaches beyond 0 can be significant: it was tested after surer ones, which left it a larger share of the level."
    yield from (plain(n) for n in trial.notes)


def _reaches_beyond_0(arm: ArmAnswer) -> bool:
    c = arm.compared
    if c is None or c.low is None or c.high is None or c.outcome not in ("better", "worse"):
        return False
    return c.low <= 0 <= c.high


def render(trial: TrialAnswer, findings: Sequence[Finding], console: Console) -> None:
    """Print what the trial shows, the arms, and what it rests on."""
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False, header_style="bold dim", padding=(0, 1, 0, 0))
    at = [i for i, name in enumerate(HEAD) if name != "p"]
    for i in at:
        grid.add_column(HEAD[i], justify="left" if HEAD[i] in ("arm", "") else "right")
    for row in rows(trial):
        grid.add_row(*(Text(SHORT.get(row[i], row[i])) for i in at))
    found = [
        Text.assemble(
            (f"{f.code} {f.name} ({f.severity})", STYLE[f.severity or "info"]),
            ": ",
            plain(f.message),
        )
        for f in findings
    ]
    blocks: list[RenderableType] = [
        paragraphs(("Trial", [Text(headline(trial), "bold")]), ("Finding", found)),
        "",
        grid,
        "",
        paragraphs(
            ("Arms", [Text(x) for x in remarks(trial)]),
            ("Rests on", [Text(x) for x in basis(trial)]),
        ),
    ]
    show(blocks, console)


def to_json(trial: TrialAnswer, findings: Sequence[Finding]) -> dict[str, Any]:
    """The trial as plain values: finite numbers or null."""
    return {
        "schema": 1,
        "tool": {"name": "normscope", "version": normscope.__version__},
        "summary": reports.unicode(headline(trial)),
        "plan": msgspec.to_builtins(trial.plan),
        "level": trial.level,
        "arms": [_arm_to_json(a) for a in trial.arms],
        "findings": [msgspec.to_builtins(reports.reported(f)) for f in findings],
        "notes": [reports.unicode(n) for n in trial.notes],
    }


def _arm_to_json(arm: ArmAnswer) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(arm)
    for run in told["runs"]:
        del run["sources"]
    return _finite(told)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return reports.unicode(value)
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def dumps(trial: TrialAnswer, findings: Sequence[Finding]) -> bytes:
    """The trial as indented UTF-8 JSON."""
    return msgspec.json.format(msgspec.json.encode(to_json(trial, findings)), indent=2) + b"\n"


def sections(trial: TrialAnswer) -> Iterator[Section]:
    """The arms' numbers, and the learning curves: means over seeds, and each arm's runs."""
    yield Section(
        "arms",
        "The arms",
        " ".join(basis(trial)),
        table=table(list(HEAD), rows(trial)),
    )
    groups = [g for a in trial.arms if (g := _runs(a, trial.plan.title)) is not None]
    means = _means(trial)
    if means is None and not groups:
        yield Section("curves", "Learning curves", missing="No run told its metric more than once.")
        return
    yield Section(
        "curves",
        "Learning curves",
        f"{trial.plan.title} as the runs told it: each arm beside the script as it is, means over seeds; then the runs of each arm.",
        chart=Chart("step", [*(means or []), *groups], chooser="Arm"),
    )


def _curve(arm: ArmAnswer) -> dict[float, float]:
    """Mean over the runs of an arm at each step that all of them told."""
    told = [{float(p.step): p.value for p in r.curve if p.value is not None} for r in arm.runs]
    told = [t for t in told if len(t) > 1]
    common = set[float].intersection(*map(set, told)) if told else set[float]()
    return {s: math.fsum(t[s] for t in told) / len(told) for s in sorted(common)}


def _means(trial: TrialAnswer) -> list[Group] | None:
    base = _curve(trial.as_is)
    others = [(a.name, c) for a in trial.arms if a.name != AS_IS and (c := _curve(a))]
    if not base or not others:
        return None
    found: list[Group] = []
    for name, curve in others:
        x = sorted({*base, *curve})
        lines = [
            Line(AS_IS, [base.get(s) for s in x]),
            Line(shortened(name), [curve.get(s) for s in x]),
        ]
        found.append(Group(f"{shortened(name)} and {AS_IS}", x, [Panel(trial.plan.title, lines)]))
    return found


def _runs(arm: ArmAnswer, title: str) -> Group | None:
    told = [
        (r.seed, {float(p.step): p.value for p in r.curve}) for r in arm.runs if len(r.curve) > 1
    ]
    if not told:
        return None
    x = sorted({s for _, c in told for s in c})
    lines = [Line(f"seed {seed}", [_known(c.get(s)) for s in x]) for seed, c in told]
    return Group(f"runs of {shortened(arm.name)}", x, [Panel(title, lines)])


def _known(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
