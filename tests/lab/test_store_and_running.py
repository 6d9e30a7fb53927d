"""Results survive an interruption, are the same the second time, and are judged without being measured again."""

from __future__ import annotations

import sqlite3

import pytest

from normscope.errors import NormscopeError
from normscope.lab import running, table
from normscope.lab.claim import FULL, QUICK
from normscope.lab.page import judged
from normscope.lab.store import Store, key_of

CLAIM = table.of_name("one-operation")
DIGITS = running.Source()


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "results.sqlite") as opened:
        yield opened


def test_an_interrupted_run_goes_on_where_it_was(store, tmp_path):
    def interrupt(done):
        if done.task.cell["arm"] == "gradient":
            raise KeyboardInterrupt

    tasks = running.missing([CLAIM], store, QUICK, "digits")
    with pytest.raises(KeyboardInterrupt):
        running.run(tasks, store, DIGITS, QUICK, jobs=0, told=interrupt)
    assert store.results(CLAIM, QUICK, "digits") is None
    left = running.missing([CLAIM], store, QUICK, "digits")
    assert [t.cell["arm"] for t in left] == [c["arm"] for c in CLAIM.cells(QUICK)][2:]
    assert running.run(left, store, DIGITS, QUICK, jobs=0) == []
    resumed = store.results(CLAIM, QUICK, "digits")

    with Store(tmp_path / "other.sqlite") as other:
        running.run(tasks, other, DIGITS, QUICK, jobs=0)
        at_once = other.results(CLAIM, QUICK, "digits")
    assert resumed is not None
    assert at_once is not None
    assert resumed.rows == at_once.rows


def test_other_processes_measure_the_same(store, tmp_path):
    tasks = running.missing([CLAIM], store, QUICK, "digits")
    running.run(tasks, store, DIGITS, QUICK, jobs=2)
    with Store(tmp_path / "here.sqlite") as here:
        running.run(tasks, here, DIGITS, QUICK, jobs=0)
        rows = here.results(CLAIM, QUICK, "digits")
    assert rows == store.results(CLAIM, QUICK, "digits")


def test_a_cell_that_fails_does_not_stop_the_others(store, monkeypatch):
    def measure(cell, data):
        if cell["arm"] == "gradient":
            raise ValueError("not\nnow")
        return {"difference": [0.0, 1e-7]}

    broken = type("Claim", (), {"measure": staticmethod(measure)})
    monkeypatch.setattr(table, "of_name", lambda name: broken)
    tasks = running.missing([CLAIM], store, QUICK, "digits")
    [failed] = running.run(tasks, store, DIGITS, QUICK, jobs=0)
    assert failed.failure == "ValueError: not now"
    assert len(running.missing([CLAIM], store, QUICK, "digits")) == 1


def test_claims_that_share_runs_ask_for_them_once(store):
    names = ("small-batch", "batch-32", "layer-norm-batch", "group-norm-batch", "removing-norm")
    claims = [table.of_name(n) for n in names]
    tasks = running.missing(claims, store, QUICK, "digits")
    assert len(tasks) == len(claims[0].cells(QUICK))


def test_scale_data_and_parameters_make_the_cell():
    cell = {"arm": "batch", "batch": 2}
    keys = {
        key_of("a", cell, "digits", "quick"),
        key_of("b", cell, "digits", "quick"),
        key_of("a", {**cell, "batch": 4}, "digits", "quick"),
        key_of("a", cell, "mnist", "quick"),
        key_of("a", cell, "digits", "full"),
    }
    assert len(keys) == 5
    assert key_of("a", {"batch": 2, "arm": "batch"}, "digits", "quick") in keys


def test_numbers_that_are_none_survive(store):
    for cell in CLAIM.cells(QUICK):
        store.put(
            "one-operation", cell, "digits", "quick", {"difference": [float("nan"), 1.0]}, 1.25
        )
    results = store.results(CLAIM, QUICK, "digits")
    assert results is not None
    assert store.seconds(CLAIM, QUICK, "digits") == 5.0
    [entry] = judged([CLAIM], store, QUICK, "digits")
    assert entry.judgement is not None
    assert entry.judgement.verdict != "holds"


def test_a_file_that_holds_something_else(tmp_path):
    (tmp_path / "text").write_text("no database, but long enough to be looked at as one" * 30)
    with pytest.raises(NormscopeError, match="is no file of results"):
        Store(tmp_path / "text")
    with sqlite3.connect(tmp_path / "other.sqlite") as base:
        base.execute("create table results (a)")
    base.close()
    with pytest.raises(NormscopeError, match="is no file of results"):
        Store(tmp_path / "other.sqlite")


def test_every_claim_is_told_in_full():
    for name in table.NAMES:
        claim = table.of_name(name)
        assert claim.name == name
        assert all(s.endswith(".txt") for s in claim.seeds)
        for text in (
            claim.says,
            claim.design,
            claim.rule,
            claim.plot,
            claim.rests,
            claim.literature,
        ):
            assert text.endswith("."), (name, text)
        for scale in (QUICK, FULL):
            cells = claim.cells(scale)
            assert len({key_of(claim.runs, c, "digits", scale.name) for c in cells}) == len(cells)
            assert all(len(c["seeds"]) >= 2 for c in cells), name
