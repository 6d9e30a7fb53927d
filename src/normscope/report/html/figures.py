"""What a page shows: sections with a plot, bars or lanes, and the numbers in a table beside them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from normscope.report.wording import finite

POINTS = 1500  # per line: more than a screen has columns
ROWS = 30  # of a table


class Line(msgspec.Struct, frozen=True):
    """A named series; a null is a gap. `dots`: unconnected points."""

    label: str
    values: list[float | None]
    dots: bool = False


class Panel(msgspec.Struct, frozen=True):
    """Lines over one vertical axis."""

    y: str
    lines: list[Line]


class Group(msgspec.Struct, frozen=True):
    """What is shown at a time: one entry of the chooser, with a horizontal axis of its own."""

    label: str
    x: list[float]
    panels: list[Panel]


class Chart(msgspec.Struct, frozen=True):
    """A plot that the page's script draws."""

    x: str
    groups: list[Group]
    chooser: str = "Layer"


class Bar(msgspec.Struct, frozen=True):
    """A horizontal bar: its length as a share of the longest, its value in words, and a whisker of its noise."""

    label: str
    length: float
    text: str
    whisker: tuple[float, float] | None = None  # from, to, in the same shares
    tone: str = "one"


class Lane(msgspec.Struct, frozen=True):
    """A named row of intervals over the run: `(start, width, solid, words)`, in percent of its length."""

    label: str
    tone: str
    intervals: list[tuple[float, float, bool, str]]


class Table(msgspec.Struct, frozen=True):
    """Rows of words; `more` counts what was left out."""

    head: list[str]
    rows: list[list[str]]
    more: int = 0


class Section(msgspec.Struct, frozen=True):
    """One question with its figure. `missing` says in a sentence why there is none."""

    id: str
    title: str
    caption: str = ""
    missing: str = ""
    chart: Chart | None = None
    bars: list[Bar] = []
    lanes: list[Lane] = []
    ends: tuple[str, str] = ("", "")  # of the lanes' axis
    table: Table | None = None


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """The first rows, and a count of the others."""
    kept = [list(r) for r in rows[:ROWS]]
    return Table(list(head), kept, len(rows) - len(kept))


def kept(lines: Sequence[NDArray[Any]], most: int = POINTS) -> NDArray[np.intp]:
    """Indices of at most `most` points that keep both ends, and each line's extremes in every stretch.

    All lines share one horizontal axis and length. Points that are not finite are never an extreme.
    """
    length = len(lines[0])
    if length <= most:
        return np.arange(length)
    stretches = max(1, (most - 2) // (2 * len(lines)))
    edges = np.linspace(0, length, stretches + 1).astype(np.intp)
    chosen: set[int] = {0, length - 1}
    for line in lines:
        low = np.where(np.isfinite(line), line, np.inf)
        high = np.where(np.isfinite(line), line, -np.inf)
        for start, end in pairwise(edges.tolist()):
            chosen.add(start + int(np.argmin(low[start:end])))
            chosen.add(start + int(np.argmax(high[start:end])))
    return np.array(sorted(chosen), dtype=np.intp)


def rounded(values: NDArray[Any]) -> list[float | None]:
    """Four significant digits: a plot shows no more, and the page stays small."""
    return [None if finite(v) is None else float(f"{v:.4g}") for v in values.tolist()]


def bars(entries: Sequence[tuple[str, float, float, str, str]]) -> list[Bar]:
    """Bars from (label, value, noise, words, tone), scaled to the longest with its whisker."""
    known = [(abs(v), n if np.isfinite(n) else 0.0) for _, v, n, _, _ in entries if np.isfinite(v)]
    longest = max((v + n for v, n in known), default=0.0) or 1.0
    found: list[Bar] = []
    for label, value, noise, words, tone in entries:
        size = abs(value) / longest if np.isfinite(value) else 0.0
        reach = noise / longest if np.isfinite(noise) and np.isfinite(value) else 0.0
        whisker = (max(0.0, size - reach), min(1.0, size + reach)) if reach else None
        found.append(Bar(label, size, words, whisker, tone))
    return found
