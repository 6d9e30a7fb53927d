"""Twins mended by the call that their rule proposes, `normscope.recalibrate(model, batches)`, in the place where a user would put it."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from .cases import Case

FILE = Path(__file__).with_name("recalibrated.toml")


@cache
def table() -> dict[str, dict[str, Any]]:
    return tomllib.loads(FILE.read_text(encoding="utf-8"))


def has_call(case: Case) -> bool:
    return case.path.parent.name in table()


def with_call(case: Case, source: str) -> str:
    """The faulty script with the call. Raises ValueError where the line is not there just once."""
    told = table()[case.path.parent.name]
    lines = source.splitlines(keepends=True)
    found = [i for i, line in enumerate(lines) if line.lstrip().startswith(told["before"])]
    if len(found) != 1:
        raise ValueError(f"{case.name}: {len(found)} lines begin with {told['before']!r}")
    [at] = found
    indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
    lines[at:at] = [f"{indent}{call}\n" for call in told["calls"]]
    after = "".join(lines)
    old, new = told.get("replace", ("", ""))
    if old and after.count(old) != 1:
        raise ValueError(f"{case.name}: {old!r} is not there just once")
    return "import normscope\n" + (after.replace(old, new) if old else after)
