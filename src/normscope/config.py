"""The options of `normscope`, from the command line over `[tool.normscope]` in `pyproject.toml` over defaults."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, get_args

from normscope.errors import NormscopeError, did_you_mean

Format = Literal["text", "json", "html", "sarif", "github"]
FailOn = Literal["error", "warning", "never"]
FORMATS: tuple[Format, ...] = get_args(Format)
BARS: tuple[FailOn, ...] = get_args(FailOn)

_UNITS = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
}


@dataclass(frozen=True, slots=True)
class Ignore:
    """Findings whose code begins with one of `codes` are not reported for layers whose path matches `layers`.

    `layers` is a pattern as for files: `backbone.*`; `*` for all. `reason` is why, for whoever reads the file next.
    """

    codes: tuple[str, ...]
    layers: str
    reason: str

    def covers(self, code: str, layer: str) -> bool:
        return code.startswith(self.codes) and fnmatchcase(layer, self.layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Checked options. `budget` is a share of the loop's time; None means: not said."""

    record: Path | None = None
    format: tuple[Format, ...] = ()
    output: tuple[Path, ...] = ()
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    fail_on: FailOn | None = None
    budget: float = 0.01
    keep_batches: int = 64 * 10**6
    steps: int | None = None
    baseline: Path | None = None
    ignore_layers: tuple[Ignore, ...] = ()


KEYS = tuple(f.replace("_", "-") for f in Config.__slots__)


def read(folder: Path) -> Config:
    """The nearest `[tool.normscope]` in `folder` or above, else the defaults.

    Paths in it are relative to its file. Raises NormscopeError for what cannot be read or understood.
    """
    for place in (folder, *folder.parents):
        file = place / "pyproject.toml"
        if not file.is_file():
            continue
        try:
            table = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {}).get("normscope")
        except (OSError, ValueError) as error:
            raise NormscopeError(f"Cannot read `{file}`: {error}.") from None
        if table is not None:
            return _located(merge(Config(), table, where=f"[tool.normscope] in {file}"), place)
    return Config()


def _located(config: Config, place: Path) -> Config:
    return replace(
        config,
        record=place / config.record if config.record else None,
        output=tuple(place / o for o in config.output),
        baseline=place / config.baseline if config.baseline else None,
    )


def merge(config: Config, given: Mapping[str, Any], *, where: str) -> Config:
    """`config` with what was `given` under the option's names (`fail-on`), each checked.

    Raises NormscopeError that names the option, `where` it stands, and what was expected.
    """
    changes: dict[str, Any] = {}
    for key, value in given.items():
        if key not in KEYS:
            raise NormscopeError(
                f"{where} knows no `{key}`.{did_you_mean(key, KEYS)} Known: {', '.join(KEYS)}."
            )
        try:
            changes[key.replace("-", "_")] = _PARSE[key](value)
        except ValueError as problem:
            raise NormscopeError(
                f"`{key}` was given as `{value}` ({where}), but {problem}."
            ) from None
    return replace(config, **changes)


def budget_of(value: object) -> float:
    """A share of time from `1%` or `0.01`. Raises ValueError."""
    text = str(value).strip()
    expected = "a share of the loop's time above 0 was expected, such as 1% or 0.01"
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        raise ValueError(expected) from None
    if text.endswith("%"):
        number /= 100
    elif number >= 1:
        raise ValueError(f"{expected}; write `{text}%` for percent")
    if not 0 < number < float("inf"):
        raise ValueError(expected)
    return number


def bytes_of(value: object) -> int:
    """A number of bytes from `64MB`, `1.5 GiB` or `0`. Raises ValueError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?I?B?)", str(value).strip().upper())
    unit = match and (match[2] if match[2][-1:] in ("", "B") else match[2] + "B")
    if match is None or unit not in _UNITS:
        raise ValueError("an amount of memory was expected, such as 64MB, 1GB or 0")
    return int(float(match[1]) * _UNITS[unit])


def _steps(value: object) -> int:
    text = str(value).strip()
    if isinstance(value, bool) or not text.isdecimal() or int(text) < 1:
        raise ValueError("a whole number of training steps from 1 on was expected")
    return int(text)


def _words(value: object) -> tuple[str, ...]:
    """One word, several separated by commas, or a list of such."""
    listed: list[object] = list(value) if isinstance(value, (list, tuple)) else [value]  # pyright: ignore[reportUnknownArgumentType]
    if not all(isinstance(v, (str, Path)) for v in listed):
        raise ValueError("a word or a list of words was expected")
    return tuple(w.strip() for v in listed for w in str(v).split(",") if w.strip())


def _formats(value: object) -> tuple[str, ...]:
    words = _words(value)
    for word in words:
        if word not in FORMATS:
            raise ValueError(
                f"{_either(FORMATS)} was expected.{did_you_mean(word, FORMATS)}".rstrip(".")
            )
    return words


def _bar(value: object) -> str:
    if value not in BARS:
        raise ValueError(f"{_either(BARS)} was expected")
    return str(value)


def _path(value: object) -> Path:
    if not isinstance(value, (str, Path)) or not str(value):
        raise ValueError("a file name was expected")
    return Path(value)


def _paths(value: object) -> tuple[Path, ...]:
    listed: list[object] = list(value) if isinstance(value, (list, tuple)) else [value]  # pyright: ignore[reportUnknownArgumentType]
    return tuple(_path(v) for v in listed)


def _ignores(value: object) -> tuple[Ignore, ...]:
    expected = "a list of tables with `codes`, `layers` and a `reason` was expected"
    if not isinstance(value, list):
        raise ValueError(expected)
    tables: list[object] = list(value)  # pyright: ignore[reportUnknownArgumentType]
    return tuple(_ignore_of(told, expected) for told in tables)


def _ignore_of(told: object, expected: str) -> Ignore:
    if not isinstance(told, dict):
        raise ValueError(expected)
    table: dict[str, Any] = dict(told)  # pyright: ignore[reportUnknownArgumentType]
    known = ("codes", "layers", "reason")
    for key in table:
        if key not in known:
            raise ValueError(f"{expected}, not `{key}`.{did_you_mean(key, known)}".rstrip("."))
    codes = tuple(c.upper() for c in _words(table.get("codes", ())))
    reason = str(table.get("reason", "")).strip()
    if not codes:
        raise ValueError("the `codes` to ignore are missing: such as NS101")
    if not reason:
        raise ValueError(
            f"the `reason` to ignore {', '.join(codes)} is missing: say why it is right here"
        )
    return Ignore(codes, str(table.get("layers", "*")), reason)


def _either(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


_PARSE: Mapping[str, Any] = {
    "record": _path,
    "format": _formats,
    "output": _paths,
    "select": _words,
    "ignore": _words,
    "fail-on": _bar,
    "budget": budget_of,
    "keep-batches": bytes_of,
    "steps": _steps,
    "baseline": _path,
    "ignore-layers": _ignores,
}
