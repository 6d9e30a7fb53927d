"""The map of reported failures is whole: every failure once, every rule and twin that it names there."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest
from twins.cases import HERE

from normscope import catalogue

sys.path.insert(0, str(HERE.parents[1] / "scripts"))
import failures_page
from failures_page import Book, Failure, Twin

RULES = {r.code: r.name for r in catalogue.rules()}
BOOK = failures_page.read()
TWINS = sorted(HERE.glob("*/*/pair.toml"))


def test_every_failure_is_told_once_and_in_order() -> None:
    assert [f.id for f in BOOK.failures] == [f"BNF-{n:03}" for n in range(1, 118)]


def test_a_rule_exists_or_is_said_to_come() -> None:
    named = {f.rule for f in BOOK.failures if f.rule}
    assert named <= RULES.keys() | BOOK.planned.keys()


def test_what_has_no_rule_says_why() -> None:
    assert [f.id for f in BOOK.failures if not f.rule and not f.uncovered] == []


def test_what_a_twin_shows_is_not_called_uncovered() -> None:
    assert [f.id for f in BOOK.failures if f.uncovered and BOOK.twins.get(f.id)] == []


@pytest.mark.parametrize("file", TWINS, ids=lambda p: p.parent.name)
def test_a_twin_names_failures_that_are_told(file: Path) -> None:
    told = tomllib.loads(file.read_text(encoding="utf-8"))
    shown = told.get("failures", [])
    assert len(set(shown)) == len(shown)
    assert set(shown) <= {f.id for f in BOOK.failures}
    assert (file.parent / "faulty.py").exists()
    assert (file.parent / "healthy.py").exists()


def test_the_page_counts_and_explains_each_kind() -> None:
    failures = [
        Failure("F-1", "Here", "PyTorch", "shown", "NS401", "https://example.org/1"),
        Failure("F-2", "Here", "Keras", "shown too", "NS401"),
        Failure("F-3", "Here", "PyTorch", "waiting", "NS401"),
        Failure("F-4", "There", "PyTorch", "a | b", "NS999"),
        Failure("F-5", "There", "PyTorch", "impossible", "", "", "No cause is known."),
    ]
    one, two, early = Twin("pairs/one", "NS401"), Twin("frozen/two", "NS401"), Twin("x/y", "NS999")
    twins = {"F-1": [one], "F-2": [one, two], "F-4": [early]}
    text = failures_page.page(Book(failures, {"NS999": "next"}, twins), {"NS401": "name"})
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|")}
    assert rows["shown by a running twin"].endswith("| 2 |")
    assert rows["the rule exists, a twin does not yet"].endswith("| 1 |")
    assert rows["the rule does not exist yet"].endswith("| 1 |")
    assert rows["not covered, because …"].endswith("| 1 |")
    assert "Of those with a twin, 1 were reported for another framework" in text
    assert "[NS401](rules/NS401.md) name" in rows["[F-1](https://example.org/1)"]
    assert "[two](../tests/twins/frozen/two/faulty.py)" in rows["F-2"]
    assert "a \\| b | PyTorch | NS999 next, to come | rule to come" in rows["F-4"]
    assert "none | Not covered, because: No cause is known." in rows["F-5"]
