# pyright: basic
"""The lab's plots in one style: lines and markers differ, not colours alone; text and frames are read on white and on black."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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
        draw(figure.subplots())
        held = BytesIO()
        figure.savefig(held, format="svg", metadata={"Date": None, "Creator": None})
    lines = held.getvalue().decode().splitlines()
    path.write_text("\n".join(line.rstrip() for line in lines) + "\n", encoding="utf-8")


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
    axes.set(xlabel=label, ylabel=unit)
    axes.legend()


def beside(
    axes: Axes, x: Sequence[float], values: Sequence[float], name: str, *, like: int = 0
) -> None:
    """The literature's numbers, dashed, in the colour of our arm number `like`."""
    axes.plot(
        x,
        values,
        color=COLOURS[like],
        ls="--",
        lw=1.2,
        marker=MARKERS[like],
        mfc="none",
        label=name,
    )
    axes.legend(fontsize=8)


def dots(axes: Axes, arms: Mapping[str, Sequence[float]], *, unit: str, log: bool = False) -> None:
    """Each seed of each arm as a dot, the mean as a bar of its own height."""
    for i, (name, values) in enumerate(arms.items()):
        colour = COLOURS[i % len(COLOURS)]
        axes.plot([i] * len(values), values, MARKERS[i % len(MARKERS)], color=colour, alpha=0.6)
        axes.plot([i - 0.25, i + 0.25], [sum(values) / len(values)] * 2, color=colour, lw=2.5)
        del name
    axes.set_xticks(
        range(len(arms)), [NAMES.get(n, n) for n in arms], rotation=20 if len(arms) > 4 else 0
    )
    axes.set_xlim(-0.6, len(arms) - 0.4)
    axes.set_ylabel(unit)
    if log:
        axes.set_yscale("log")
