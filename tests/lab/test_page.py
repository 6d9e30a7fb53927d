"""The page and its plots are made of stored results alone."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from normscope.errors import NormscopeError
from normscope.lab import page, running, table
from normscope.lab.claim import QUICK
from normscope.lab.store import Store

ROOT = Path(__file__).resolve().parents[2]
STORED = ROOT / "docs" / "lab" / "results.sqlite"


@pytest.fixture
def entries(tmp_path, here):
    claims = [table.of_name(n) for n in ("redundant-bias", "one-operation", "small-batch")]
    with Store(tmp_path / "results.sqlite") as store:
        running.run(running.missing(claims[:2], store, QUICK, running.Source()), store, here)
        return page.judged(claims, store, QUICK, "digits")


def test_the_page_has_a_verdict_and_a_plot_for_each(entries, tmp_path):
    written = page.write(tmp_path, entries, QUICK, "digits")
    text = (tmp_path / "lab.md").read_text(encoding="utf-8")
    assert [p.name for p in written] == ["lab.md", "redundant-bias.svg", "one-operation.svg"]
    for e in entries[:2]:
        assert f"**Verdict: {e.judgement.verdict}.**" in text
        assert f"(lab/{e.claim.name}.svg)" in text
        assert f"## {e.claim.name}" in text
    assert "**Verdict: not run.**" in text
    assert "(lab/small-batch.svg)" not in text
    ElementTree.parse(tmp_path / "lab" / "redundant-bias.svg")


def test_the_same_results_give_the_same_bytes(entries, tmp_path):
    first = [p.read_bytes() for p in page.write(tmp_path, entries, QUICK, "digits")]
    assert [p.read_bytes() for p in page.write(tmp_path, entries, QUICK, "digits")] == first


def test_without_results_there_is_no_page(tmp_path):
    nothing = page.judged([table.of_name("identity")], None, QUICK, "digits")
    with pytest.raises(NormscopeError, match="no results of digits at scale quick"):
        page.write(tmp_path, nothing, QUICK, "digits")


def test_the_committed_page_is_what_the_committed_results_say():
    claims = table.chosen([])
    with Store(STORED, create=False) as store:
        entries = page.judged(claims, store, QUICK, "digits")
    assert (ROOT / "docs" / "lab.md").read_text(encoding="utf-8") == page.page(
        entries, QUICK, "digits"
    )
    plots = {p.stem for p in (ROOT / "docs" / "lab").glob("*.svg")}
    assert plots == {e.claim.name for e in entries if e.judgement is not None}


def test_no_committed_interval_that_includes_no_effect_holds():
    with Store(STORED, create=False) as store:
        entries = page.judged(table.chosen([]), store, QUICK, "digits")
    for e in entries:
        found = e.judgement
        if found is not None and found.verdict.startswith("holds"):
            assert found.low is not None, e.claim.name
            none = 1.0 if found.unit == "×" else 0.0
            assert not found.low <= none <= found.high, e.claim.name
