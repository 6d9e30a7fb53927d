"""Results survive an interruption, are the same the second time, and are judged without being measured again."""

from __future__ import annotations

import sqlite3

import pytest

from normscope.errors import NormscopeError
from normscope.lab import running, table
from normscope.lab.claim import FULL, QUICK
from normscope.lab.executing import executor_of
from normscope.lab.page import judged
from normscope.lab.store import Store, key_of
from normscope.lab.workers import Workers

CLAIM = table.of_name("one-operation")
DIGITS = running.Source()


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "results.sqlite") as opened:
        yield opened


def test_an_interrupted_run_goes_on_where_it_was(store, here, tmp_path):
    kept = []

    def interrupt(done):
        kept.append(done.task)
        if len(kept) == 2:
            raise KeyboardInterrupt

    tasks = running.missing([CLAIM], store, QUICK, DIGITS)
    with pytest.raises(KeyboardInterrupt):
        running.run(tasks, store, here, told=interrupt)
    assert store.results(CLAIM, QUICK, "digits") is None
    left = running.missing([CLAIM], store, QUICK, DIGITS)
    assert left == [t for t in tasks if t not in kept]
    assert running.run(left, store, here) == []
    resumed = store.results(CLAIM, QUICK, "digits")

    with Store(tmp_path / "other.sqlite") as other:
        running.run(tasks, other, here)
        at_once = other.results(CLAIM, QUICK, "digits")
    assert resumed is not None
    assert at_once is not None
    assert resumed.rows == at_once.rows


def test_other_processes_measure_the_same(store, here, tmp_path):
    tasks = running.missing([CLAIM], store, QUICK, DIGITS)
    with executor_of(2) as apart:
        assert running.run(tasks, store, apart) == []
    with Store(tmp_path / "here.sqlite") as other:
        running.run(tasks, other, here)
        rows = other.results(CLAIM, QUICK, "digits")
    assert rows == store.results(CLAIM, QUICK, "digits")


def test_a_process_that_is_killed_is_told_and_another_takes_its_place(store):
    [task, *_] = running.missing([CLAIM], store, QUICK, DIGITS)
    processes = []
    with Workers() as workers:
        lost = workers.perform(task, lambda process: (processes.append(process), process.kill()))
        assert lost.numbers is None
        assert lost.failure.startswith("its process was ended by SIGKILL")
        done = workers.perform(task, processes.append)
        again = workers.perform(task, processes.append)
    assert done.failure == ""
    assert done.numbers == again.numbers
    assert processes[0] is not processes[1] is processes[2]
    assert all(p.poll() is not None for p in processes)


def test_a_cell_that_fails_does_not_stop_the_others(store, here, monkeypatch):
    def measure(cell, data):
        if cell["arm"] == "gradient":
            raise ValueError("not\nnow")
        return {"difference": [0.0, 1e-7]}

    broken = type("Claim", (), {"measure": staticmethod(measure)})
    monkeypatch.setattr(table, "of_name", lambda name: broken)
    tasks = running.missing([CLAIM], store, QUICK, DIGITS)
    [failed] = running.run(tasks, store, here)
    assert failed.failure == "ValueError: not now"
    assert len(running.missing([CLAIM], store, QUICK, DIGITS)) == 1


def test_claims_that_share_runs_ask_for_them_once(store):
    names = ("small-batch", "batch-32", "layer-norm-batch", "group-norm-batch", "removing-norm")
    claims = [table.of_name(n) for n in names]
    tasks = running.missing(claims, store, QUICK, DIGITS)
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


def test_what_a_missing_library_left_open_is_asked_again(store):
    [first, second, *_] = CLAIM.cells(QUICK)
    store.put("one-operation", first, "digits", "quick", {"missing": True}, 0.1)
    store.put("one-operation", second, "digits", "quick", {"difference": [0.0]}, 0.1)
    asked = [t.cell for t in running.missing([CLAIM], store, QUICK, DIGITS)]
    assert first in asked
    assert second not in asked


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
