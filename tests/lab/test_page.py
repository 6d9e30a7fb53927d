"""The page and its plots are made of stored results alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from normscope.errors import NormscopeError
from normscope.lab import page, running, table
from normscope.lab.advice import PARTS, ten_minutes
from normscope.lab.claim import QUICK, Results
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


@pytest.fixture(scope="module")
def committed():
    with Store(STORED, create=False) as store:
        return page.judged(table.chosen([]), store, QUICK, "digits")


def test_every_claim_is_measured_with_an_interval(committed):
    for e in committed:
        found = e.judgement
        assert found is not None, e.claim.name
        assert found.low <= found.value <= found.high, e.claim.name


def test_no_committed_interval_that_includes_no_effect_holds(committed):
    for e in committed:
        found = e.judgement
        if found.verdict.startswith("holds"):
            none = 1.0 if found.unit == "×" else 0.0
            assert not found.low <= none <= found.high, e.claim.name


# What they compare lies within a cell, or is asked to be small.
WITHIN = {
    "redundant-bias", "identity", "one-operation", "running-averages", "momentum", "forgotten-eval", "downstream-shift",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(table.NAMES) - WITHIN))
def test_arms_that_are_alike_never_hold(name, committed):
    """The committed numbers of one arm and setting in the place of all others: there is no effect then, and no claim holds."""
    [results] = [e.results for e in committed if e.claim.name == name]
    first = results.rows[0][1]
    alike = [
        (cell, {**numbers, **{k: first[k] for k in numbers if k in first}})
        for cell, numbers in results.rows
    ]
    assert not table.of_name(name).judge(Results(alike)).verdict.startswith("holds")


def test_the_advice_is_borne_out_by_the_committed_results(committed):
    verdicts = {e.claim.name: e.judgement.verdict for e in committed}
    for part in PARTS:
        for advice in part.advice:
            for name, begins in advice.grounds:
                assert verdicts[name].startswith(begins), name


def test_advice_that_results_do_not_bear_out_says_so(committed):
    verdicts = {e.claim.name: e.judgement for e in committed}
    assert "here the verdict is" not in ten_minutes(verdicts)
    verdicts["small-batch"] = replace(verdicts["small-batch"], verdict="does not hold")
    [row] = [x for x in ten_minutes(verdicts).splitlines() if "here the verdict is" in x]
    assert "([small-batch](#small-batch)); here the verdict is: does not hold" in row


def test_the_guide_comes_first_and_what_was_mended_is_told(committed):
    text = page.page(committed, QUICK, "digits")
    headings = [x for x in text.splitlines() if x.startswith("## ")]
    assert headings[0].startswith("## In ten minutes")
    mended = [e.claim for e in committed if e.claim.mended]
    assert text.count("**Mended after a first look.**") == len(mended)
    assert f"of {len(mended)} claims was mended after a first look" in text
