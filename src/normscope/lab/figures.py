# pyright: basic
"""The lab's plots in one style: lines and markers differ, not colours alone; text and frames are read on white and on black; legends stand below."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FuncFormatter,
    LogFormatterSciNotation,
    LogLocator,
    MaxNLocator,
    NullFormatter,
)

INK = "#7b7f86"  # contrast above 3.9 with white and with GitHub's dark page
# Of Okabe and Ito's colours those that are seen on both.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "v", "P")
STYLE: dict[Any, Any] = {
    "figure.figsize": (6.4, 3.4),
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.2,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "svg.fonttype": "none",
    "svg.hashsalt": "normscope",
    "savefig.transparent": True,
}
NAMES = {"batch": "batch norm", "group": "group norm", "layer": "layer norm", "none": "no norm"}


def save(draw: Callable[[Axes], None], path: Path) -> None:
    """The same results give the same bytes."""
    with mpl.rc_context(STYLE):
        figure = Figure(layout="constrained")
        axes = figure.subplots()
        draw(axes)
        _plain_numbers(axes)
        _legend_below(figure, axes)
        held = BytesIO()
        figure.savefig(held, format="svg", metadata={"Date": None, "Creator": None})
    lines = held.getvalue().decode().splitlines()
    path.write_text("\n".join(line.rstrip() for line in lines) + "\n", encoding="utf-8")


def _plain_numbers(axes: Axes) -> None:
    """0.1, 1, 10 on logarithmic axes instead of powers, where such numbers are short."""
    for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        if isinstance(axis.get_major_formatter(), LogFormatterSciNotation) and low > 1e-4:
            axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
            axis.set_minor_formatter(NullFormatter())
            if high < 200 * low:
                axis.set_major_locator(LogLocator(subs=(1, 2, 5)))


def _legend_below(figure: Figure, axes: Axes) -> None:
    """It hides no line there; the figure grows by its rows."""
    handles, labels = axes.get_legend_handles_labels()
    if not labels:
        return
    columns = 2 if max(map(len, labels)) > 22 else 3
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=8.5)
    rows = math.ceil(len(labels) / columns)
    figure.set_figheight(figure.get_figheight() + 0.2 * rows)


def lines(
    axes: Axes,
    x: Sequence[float],
    arms: Mapping[str, Sequence[Sequence[float]]],
    *,
    base: int | None = 2,
    label: str = "",
    unit: str = "",
) -> None:
    """The mean over seeds of each arm at each `x`, and from the least to the largest seed as a band. `arms[name][i]` are the seeds at x[i]."""
    for i, (name, values) in enumerate(arms.items()):
        colour = COLOURS[i % len(COLOURS)]
        middle = [sum(v) / len(v) for v in values]
        axes.plot(
            x, middle, color=colour, marker=MARKERS[i % len(MARKERS)], label=NAMES.get(name, name)
        )
        axes.fill_between(
            x, [min(v) for v in values], [max(v) for v in values], color=colour, alpha=0.15, lw=0
        )
    if base is not None:
        axes.set_xscale("log", base=base)
        if len(x) <= 10:
            axes.set_xticks(list(x), [f"{v:g}" for v in x])
            axes.minorticks_off()
    elif all(float(v).is_integer() for v in x):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel=label, ylabel=unit)


def beside(
    axes: Axes,
    x: Sequence[float],
    values: Sequence[float],
    name: str,
    *,
    like: int = 0,
    line: str = "--",
) -> None:
    """The literature's numbers, dashed, in the colour of our arm number `like`; of a second source dotted."""
    axes.plot(
        x,
        values,
        color=COLOURS[like],
        ls=line,
        lw=1.2,
        marker=MARKERS[like],
        mfc="none",
        label=name,
    )


def dots(axes: Axes, arms: Mapping[str, Sequence[float]], *, unit: str, log: bool = False) -> None:
    """A row for each arm, from above: every seed as a dot, the mean as a bar.

    A name is an arm and, behind a line break, a setting: the arm has its colour in every setting, and settings stand apart.
    """
    parts = [(*name.split("\n", 1), "")[:2] for name in arms]
    known = list(dict.fromkeys(arm for arm, _ in parts))
    rows: list[float] = []
    for (arm, setting), (_, before) in zip(parts, [parts[0], *parts], strict=False):
        rows.append(rows[-1] + (1.0 if setting == before else 1.5) if rows else 0.0)
        values = arms[f"{arm}\n{setting}" if setting else arm]
        i = known.index(arm) % len(COLOURS)
        axes.plot(values, [rows[-1]] * len(values), MARKERS[i], color=COLOURS[i], alpha=0.6)
        middle = sum(values) / len(values)
        axes.plot([middle] * 2, [rows[-1] - 0.3, rows[-1] + 0.3], color=COLOURS[i], lw=2.5)
    told = [f"{NAMES.get(a, a)}, {s}" if s else NAMES.get(a, a) for a, s in parts]
    axes.set_yticks(rows, told)
    axes.set_ylim(rows[-1] + 0.7, -0.7)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(unit)
    if isinstance(figure := axes.figure, Figure):
        figure.set_figheight(0.9 + 0.28 * rows[-1])
    if log:
        axes.set_xscale("log")
