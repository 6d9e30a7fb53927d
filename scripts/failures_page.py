"""The page docs/failures.md: reported failure → rule that names its cause → twin that shows it, or why there is none."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TWINS = ROOT / "tests" / "twins"
BAR = "\\|"  # as a table writes it
COVERED, WAITING, PLANNED, UNCOVERED = "covered", "waiting", "planned", "uncovered"


@dataclass(frozen=True, slots=True)
class Failure:
    """One reported failure. `uncovered` says why no twin can show it; `rule` is empty where none can name it."""

    id: str
    group: str
    framework: str
    title: str
    rule: str = ""
    report: str = ""
    uncovered: str = ""


@dataclass(frozen=True, slots=True)
class Twin:
    """A pair of scripts, as folder/name, and the rule that must name its fault."""

    path: str
    rule: str


@dataclass(frozen=True, slots=True)
class Book:
    """All failures, the names of rules that do not exist yet, and the twins by the failure that they show."""

    failures: Sequence[Failure]
    planned: Mapping[str, str]
    twins: Mapping[str, Sequence[Twin]]

    def status(self, failure: Failure, rules: Mapping[str, str]) -> str:
        """In this order: a twin shows it, no twin can, its rule does not exist yet, its twin does not."""
        if any(t.rule in rules for t in self.twins.get(failure.id, ())):
            return COVERED
        if failure.uncovered:
            return UNCOVERED
        return WAITING if failure.rule in rules else PLANNED


def read(folder: Path = TWINS) -> Book:
    told = tomllib.loads((folder / "failures.toml").read_text(encoding="utf-8"))
    twins: dict[str, list[Twin]] = {}
    for file in sorted(folder.glob("*/*/pair.toml")):
        pair = tomllib.loads(file.read_text(encoding="utf-8"))
        for failure in pair.get("failures", ()):
            name = file.parent.relative_to(folder).as_posix()
            twins.setdefault(failure, []).append(Twin(name, pair["rule"]))
    return Book([Failure(**f) for f in told["failure"]], told["planned"], twins)


def page(book: Book, rules: Mapping[str, str]) -> str:
    """The page as Markdown; `rules` are the names of those that exist, by code."""
    count = Counter(book.status(f, rules) for f in book.failures)
    elsewhere = sum(
        book.status(f, rules) == COVERED and "PyTorch" not in f.framework for f in book.failures
    )
    parts = [
        "<!-- Written by scripts/build_docs.py from tests/twins. -->",
        "# Reported failures",
        f"{len(book.failures)} failures of normalization layers that people reported, the [rule](rules/README.md) that names the "
        "cause of each, and the pair of scripts that shows it: the faulty twin gets that diagnosis in every test "
        "run, the healthy one gets none.",
        "| | failures |\n|---|---:|\n"
        + "\n".join(
            f"| {what} | {count[status]} |"
            for status, what in (
                (COVERED, "shown by a running twin"),
                (WAITING, "the rule exists, a twin does not yet"),
                (PLANNED, "the rule does not exist yet"),
                (UNCOVERED, "not covered, because …"),
            )
        ),
        f"Of those with a twin, {elsewhere} were reported for another framework: there the twin shows the same mechanism in "
        "PyTorch, which says nothing about diagnosing that framework.",
    ]
    for group, failures in groupby(book.failures, key=lambda f: f.group):
        rows = "\n".join(row(f, book, rules) for f in failures)
        head = "| | failure | reported for | rule | shown by |\n|---|---|---|---|---|\n"
        parts.append(f"## {group}\n\n{head}{rows}")
    return "\n\n".join(parts) + "\n"


def row(failure: Failure, book: Book, rules: Mapping[str, str]) -> str:
    shown = {
        COVERED: ", ".join(
            f"[{Path(t.path).name}](../tests/twins/{t.path}/faulty.py)"
            for t in book.twins.get(failure.id, ())
            if t.rule in rules
        ),
        WAITING: "no twin yet",
        PLANNED: "rule to come",
        UNCOVERED: f"Not covered, because: {failure.uncovered}",
    }[book.status(failure, rules)]
    name = f"[{failure.id}]({failure.report})" if failure.report else failure.id
    cells = name, failure.title, failure.framework, rule_of(failure, book, rules), shown
    return f"| {' | '.join(cell.replace('|', BAR) for cell in cells)} |"


def rule_of(failure: Failure, book: Book, rules: Mapping[str, str]) -> str:
    if not failure.rule:
        return "none"
    if failure.rule in rules:
        return f"[{failure.rule}](rules/{failure.rule}.md) {rules[failure.rule]}"
    return f"{failure.rule} {book.planned[failure.rule]}, to come"
