"""Numbers, bands, steps and foreign text as every report words them."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence

from normscope.finding import Measured, Steps

MISSING = "—"
# Characters that reorder the text around them: a layer name could make a report read differently.
_REORDERING = {chr(c) for c in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F)}


def plain(text: str) -> str:
    """`text` without what could steer a terminal or a page: control characters are written as escapes.

    Line breaks and tabs become spaces; surrogates (undecodable bytes of a file name) become escapes too.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(c) for c in text)


def _shown(c: str) -> str:
    if c in "\n\r\t\u2028\u2029":
        return " "
    if c in _REORDERING or unicodedata.category(c) in ("Cc", "Cs"):
        return c.encode("unicode_escape").decode()
    return c


def finite(value: float | None) -> float | None:
    """`value`, or None where it is missing, infinite or not a number."""
    return float(value) if value is not None and math.isfinite(value) else None


def number(value: float | None) -> str:
    """Three to four significant digits, thousands separated; a dash for what is missing or not finite."""
    if value is None:
        return MISSING
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else ("−infinity" if value < 0 else "infinity")
    size = abs(value)
    if size >= 1e6 or 0 < size < 1e-4:
        short = f"{value:.3g}"
    elif size >= 100 or value == int(value):
        short = f"{value:,.0f}" if size >= 1000 or value == int(value) else f"{value:.1f}"
    else:
        short = f"{value:.3g}"
    return short.replace("-", "−", 1) if value < 0 else short


def percent(share: float | None) -> str:
    """A share as a percentage."""
    return MISSING if finite(share) is None else f"{number((share or 0.0) * 100)} %"


def with_unit(value: float | None, unit: str) -> str:
    """A number and its unit; the unit `1` of ratios is left out."""
    return number(value) if unit in ("1", "") or value is None else f"{number(value)} {plain(unit)}"


def with_noise(value: float | None, noise: float | None) -> str:
    """A number with its standard error."""
    return number(value) if finite(noise) is None else f"{number(value)} ± {number(noise)}"


def band(measured: Measured) -> str:
    """The band that a number was judged against, in words; empty when there is none."""
    low, high = measured.low, measured.high
    if low is not None and high is not None:
        return f"expected {number(low)} to {number(high)}"
    if low is not None:
        return f"expected at least {number(low)}"
    return f"expected at most {number(high)}" if high is not None else ""


def reading(measured: Measured) -> str:
    """A measured value with its noise and unit."""
    value = with_noise(measured.value, measured.noise)
    return value if measured.unit in ("1", "") else f"{value} {shortened(measured.unit, 24)}"


def steps(when: Steps | None) -> str:
    """`120 to 480, 7 times`; empty when the finding has no time."""
    if when is None:
        return ""
    span = f"{when.first:,}" if when.first == when.last else f"{when.first:,} to {when.last:,}"
    return span if when.count <= 1 else f"{span}, {when.count:,} times"


def shortened(name: str, most: int = 48) -> str:
    """`name` with its middle left out when it is longer than `most` characters: both ends tell names apart."""
    name = plain(name)
    if len(name) <= most:
        return name
    return f"{name[: most // 2 - 1]}…{name[-(most // 2) :]}"


def some(names: Sequence[str], most: int = 3) -> str:
    """The first names, shortened, and how many more there are."""
    shown = ", ".join(shortened(n) for n in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"


def count(amount: int, noun: str) -> str:
    """`1 layer`, `2 layers`."""
    return f"{amount:,} {noun}" if amount == 1 else f"{amount:,} {noun}s"
