"""The twins on disk: pairs of scripts that differ in one mistake, frozen pairs, and healthy scripts alone."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Case:
    """One script and what a diagnosis of it should say.

    `rule` is None for a healthy script. `severity` "info" means: the code is named, but nothing is blamed.
    `accept` lists codes that name the same mistake equally well. `select` are rules that are off by default and are asked for
    here, in place of all others: of these a healthy script gets not even a remark.
    """

    name: str
    path: Path
    rule: str | None
    severity: str = "error"
    accept: tuple[str, ...] = ()
    frozen: bool = False
    select: tuple[str, ...] = ()


def cases(only: str = "") -> list[Case]:
    """Every script, healthy and faulty; `only` keeps the pairs whose rule begins with it."""
    return [c for c in _all() if not only or (c.rule or "").startswith(only) or _twin_of(c, only)]


def _all() -> Iterator[Case]:
    for folder in ("pairs", "frozen"):
        for file in sorted((HERE / folder).glob("*/pair.toml")):
            told = tomllib.loads(file.read_text(encoding="utf-8"))
            frozen, name = folder == "frozen", f"{folder}/{file.parent.name}"
            select = tuple(told.get("select", ()))
            yield Case(
                f"{name}/faulty",
                file.parent / "faulty.py",
                told["rule"],
                told.get("severity", "error"),
                tuple(told.get("accept", ())),
                frozen,
                select,
            )
            yield Case(
                f"{name}/healthy", file.parent / "healthy.py", None, frozen=frozen, select=select
            )
    for file in sorted((HERE / "healthy").glob("*.py")):
        yield Case(f"healthy/{file.stem}", file, None)


def _twin_of(case: Case, only: str) -> bool:
    told = case.path.parent / "pair.toml"
    return told.exists() and tomllib.loads(told.read_text(encoding="utf-8"))["rule"].startswith(
        only
    )
