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
    here, in place of all others: of these a healthy script gets not even a remark. `backends` are those of Keras that it
    runs on; empty for other frameworks.
    """

    name: str
    path: Path
    rule: str | None
    severity: str = "error"
    accept: tuple[str, ...] = ()
    frozen: bool = False
    select: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()


def cases(only: str = "") -> list[Case]:
    """Every script that runs on PyTorch, healthy and faulty; `only` keeps the pairs whose rule begins with it."""
    chosen = (c for c in _all() if not c.backends or "torch" in c.backends)
    return [c for c in chosen if not only or (c.rule or "").startswith(only) or _twin_of(c, only)]


def keras_cases(backend: str, only: str = "") -> list[Case]:
    """Every script of Keras that runs on this backend; `only` is a part of its name."""
    return [c for c in _all() if backend in c.backends and only in c.name]


def _all() -> Iterator[Case]:
    for folder in ("pairs", "frozen"):
        for file in sorted((HERE / folder).glob("*/pair.toml")):
            told = tomllib.loads(file.read_text(encoding="utf-8"))
            frozen, name = folder == "frozen", f"{folder}/{file.parent.name}"
            select = tuple(told.get("select", ()))
            keras = ("torch",) if told.get("framework") == "keras" else ()
            backends = tuple(told.get("backends", keras))
            yield Case(
                f"{name}/faulty",
                file.parent / "faulty.py",
                told["rule"],
                told.get("severity", "error"),
                tuple(told.get("accept", ())),
                frozen,
                select,
                backends,
            )
            yield Case(
                f"{name}/healthy",
                file.parent / "healthy.py",
                None,
                frozen=frozen,
                select=select,
                backends=backends,
            )
    told = tomllib.loads((HERE / "healthy" / "backends.toml").read_text(encoding="utf-8"))
    for file in sorted((HERE / "healthy").glob("*.py")):
        keras = ("torch",) if "KERAS_BACKEND" in file.read_text(encoding="utf-8") else ()
        yield Case(f"healthy/{file.stem}", file, None, backends=tuple(told.get(file.stem, keras)))


def _twin_of(case: Case, only: str) -> bool:
    told = case.path.parent / "pair.toml"
    return told.exists() and tomllib.loads(told.read_text(encoding="utf-8"))["rule"].startswith(
        only
    )
