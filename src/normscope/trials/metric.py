"""The metric of a trial: where a run tells it, and its values in order. Imports no framework."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from normscope.errors import NormscopeError
from normscope.trials.outcome import Told
from normscope.trials.results import Point

Source = Literal["pattern", "file", "name"]
MOST = 1000  # points of a curve that are kept


class Metric(msgspec.Struct, frozen=True):
    """`what` is a regular expression, `FILE.json:key.key`, or a name that the script reports under."""

    source: Source
    what: str

    @property
    def title(self) -> str:
        """How reports call it."""
        if self.source == "pattern":
            word = re.search(r"[A-Za-z][A-Za-z_ ]*[A-Za-z]", re.sub(r"\\.|\(.*?\)", " ", self.what))
            return word[0].strip() if word else "metric"
        return self.what.rpartition(":")[2] if self.source == "file" else self.what

    @property
    def file(self) -> Path:
        return Path(self.what.rpartition(":")[0])

    @property
    def keys(self) -> list[str]:
        return self.what.rpartition(":")[2].split(".")


def metric_of(pattern: str | None, file: str | None, name: str | None) -> Metric:
    """The one that was given. Raises NormscopeError for none, for several, and for a pattern or key that cannot be one."""
    given = [x for x in (pattern, file, name) if x is not None]
    if len(given) != 1:
        said = "several were given" if given else "none was given"
        raise NormscopeError(
            f'A trial needs one metric, and {said}: `--metric "accuracy=([0-9.]+)"` for what the script prints, '
            "`--metric-file results.json:test.accuracy`, or `--metric-name accuracy` for what it reports by `normscope.report_metric`."
        )
    if pattern is not None:
        return _pattern(pattern)
    if file is not None:
        path, colon, key = file.rpartition(":")
        if not (path and colon and key):
            raise NormscopeError(
                f"`--metric-file {file}` was given, but a file and a key were expected: `results.json:test.accuracy`."
            )
        return Metric("file", file)
    if not (name or "").strip():
        raise NormscopeError("`--metric-name` was given without a name: `--metric-name accuracy`.")
    return Metric("name", str(name))


def _pattern(text: str) -> Metric:
    try:
        groups = re.compile(text).groups
    except re.error as error:
        raise NormscopeError(
            f"`--metric {text}` is no regular expression: {error}. Write it as in `accuracy=([0-9.]+)`."
        ) from None
    if groups == 0:
        raise NormscopeError(
            f"`--metric {text}` has no group: put the number in parentheses, as in `accuracy=([0-9.]+)`."
        )
    return Metric("pattern", text)


class UnreadError(Exception):
    """The run ended, but there is no metric; the message says why."""


def curve_of(metric: Metric, stdout: Path, told: Told | None, written: bool) -> list[Point]:
    """Every value in order. `written`: whether the metric's file is this run's. Raises UnreadError where there is none."""
    if metric.source == "pattern":
        return _printed(metric, stdout)
    if metric.source == "name":
        series = (told.metrics if told else {}).get(metric.what)
        if not series:
            names = ", ".join(f"`{n}`" for n in (told.metrics if told else ())) or "none"
            raise UnreadError(
                f"no metric `{metric.what}` was reported by `normscope.report_metric`; reported: {names}"
            )
        return [Point(step, value) for step, value in series]
    return [Point(1, _from_file(metric, written))]


NO_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:nan|inf(?:inity)?)(?![\w.])", re.IGNORECASE)
STAND_IN = "98765.4321"  # what a pattern of digits matches


def _printed(metric: Metric, stdout: Path) -> list[Point]:
    """A group named `step` numbers the values; without it they are counted.

    A pattern of digits does not match `nan`, and would take the last number before it for the result: so such words are matched as
    if a number stood there.
    """
    found: list[Point] = []
    expression = re.compile(metric.what)
    text = stdout.read_text(encoding="utf-8", errors="replace")
    spans: list[tuple[int, int]] = []
    parts: list[str] = []
    length = end = 0
    for word in NO_NUMBER.finditer(text):
        parts += [text[end : word.start()], STAND_IN]
        length += word.start() - end
        spans.append((length, length + len(STAND_IN)))
        length, end = length + len(STAND_IN), word.end()
    for match in expression.finditer("".join([*parts, text[end:]])):
        group = _group(match, expression.groupindex)
        value = _value(metric, match, group, spans)
        step = match.groupdict().get("step") or ""
        found.append(Point(int(step) if step.isdecimal() else len(found) + 1, value))
    if not found:
        last = next((x.strip() for x in reversed(text.splitlines()) if x.strip()), "")
        seen = f"its last line is `{last[:80]}`" if last else "it printed nothing there"
        raise UnreadError(
            f"the pattern `{metric.what}` matches nothing that the script printed on standard output; {seen}"
        )
    return found


def _value(metric: Metric, match: re.Match[str], group: int, spans: list[tuple[int, int]]) -> float:
    start, stop = match.span(group)
    if any(start < high and low < stop for low, high in spans):
        return math.nan
    told = match[group] or ""
    try:
        return float(told.replace(",", ""))
    except ValueError:
        raise UnreadError(
            f"the pattern `{metric.what}` matched `{told[:40]}`, which is no number"
        ) from None


def _group(match: re.Match[str], names: Mapping[str, int]) -> int:
    """The one named `value`, else the first without the name `step` that took part."""
    if "value" in names:
        return names["value"]
    others = [i for i in range(1, len(match.groups()) + 1) if i != names.get("step")]
    return next((i for i in others if match[i] is not None), others[0] if others else 0)


def _from_file(metric: Metric, written: bool) -> float:
    if not written:
        raise UnreadError(f"the run did not write `{metric.file}`")
    try:
        value: Any = json.loads(metric.file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnreadError(f"`{metric.file}` cannot be read as JSON: {error}") from None
    for i, key in enumerate(metric.keys):
        place = ".".join(metric.keys[: i + 1])
        try:
            value = value[int(key) if isinstance(value, list) else key]
        except (KeyError, IndexError, TypeError, ValueError):
            raise UnreadError(f"`{metric.file}` has no `{place}`") from None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UnreadError(f"`{metric.what}` is no number in `{metric.file}`")
    return float(value)


def thinned(curve: list[Point]) -> tuple[Point, ...]:
    """At most `MOST` points: evenly chosen, the first and the last among them."""
    if len(curve) <= MOST:
        return tuple(curve)
    return tuple(curve[round(i * (len(curve) - 1) / (MOST - 1))] for i in range(MOST))


def diverged_at(curve: list[Point]) -> int | None:
    """The step from which on the values are no finite numbers; None when the last one is."""
    at = None
    for point in reversed(curve):
        if point.value is not None and math.isfinite(point.value):
            break
        at = point.step
    return at
