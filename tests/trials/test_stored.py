"""A trial's report again from its record: the same as at its end, without running anything."""

from __future__ import annotations

import json

import msgspec
import pytest

from normscope.cli import main
from normscope.errors import NormscopeError
from normscope.report import trial as report
from normscope.trials.store import TrialStore
from normscope.trials.stored import stored
from trials.test_answer import BASE, BETTER, told


def kept(path, trial, *, plan=None, notes=("Seen.",), sources=lambda run: {}):
    store = TrialStore(path)
    store.put_plan(plan or trial.plan)
    for arm in trial.arms:
        for run in arm.runs:
            store.put(trial.plan.digest, msgspec.structs.replace(run, sources=sources(run)))
    store.put_notes(notes)
    store.close()
    return path


@pytest.fixture
def trial():
    return told(
        "group,layer", {"as-is": BASE, "group": BETTER, "layer": [*BASE[:4], "diverged at step 3"]}
    )


@pytest.fixture
def record(trial, tmp_path):
    return kept(tmp_path / "t.trial.nscope", trial)


def test_the_answer_is_that_of_the_end(record, trial):
    found = stored(record)
    assert found.notes == ("Seen.",)
    assert report.to_json(found, [])["arms"] == report.to_json(trial, [])["arms"]


def test_as_text_json_and_html(record, capsys):
    before = record.read_bytes()
    assert main(["report", str(record)]) == 0, "NS606 is a warning"
    out, err = capsys.readouterr()
    assert "`group` does best" in " ".join(out.split())
    assert "NS606" in out
    assert err == ""
    page = record.with_suffix(".html")
    assert main(["report", str(record), "--format", "html", "--output", str(page)]) == 0
    assert "Learning curves" in page.read_text()
    assert main(["report", str(record), "--format", "json", "--fail-on", "warning"]) == 1
    arms = json.loads(capsys.readouterr().out)["arms"]
    assert [a["name"] for a in arms] == ["group", "as-is", "layer"]
    assert record.read_bytes() == before


def test_ignored_rules_and_known_findings_are_left_out(record, capsys):
    assert main(["report", str(record), "--ignore", "NS606", "--fail-on", "warning"]) == 0
    assert "NS606" not in capsys.readouterr().out


def test_halving_is_remembered(tmp_path):
    t = told("group,layer", {"as-is": BASE, "group": [0.1] * 5, "layer": BASE[::-1]})
    plan = msgspec.structs.replace(t.plan, halving=True)
    found = stored(kept(tmp_path / "t.nscope", t, plan=plan))
    assert "stopped after 2 seeds" in {a.name: a for a in found.arms}["group"].reason


def test_runs_of_other_versions_of_the_modules_are_left_out(trial, tmp_path):
    def sources(run):
        return {"helper.py": "new" if run.arm != "group" else "old", f"{run.arm}.py": "x"}

    found = stored(kept(tmp_path / "t.nscope", trial, sources=sources))
    assert {a.name: len(a.runs) for a in found.arms} == {"as-is": 5, "layer": 5, "group": 0}


def test_seeds_that_were_not_asked_for_last_are_left_out(trial, tmp_path):
    plan = msgspec.structs.replace(trial.plan, seeds=(0, 1))
    found = stored(kept(tmp_path / "t.nscope", trial, plan=plan))
    assert [len(a.runs) for a in found.arms] == [2, 2, 2]


@pytest.mark.parametrize("command", ["compare", "report"])
def test_what_is_no_whole_trial_is_told(command, record, tmp_path, capsys):
    if command == "compare":
        assert main(["compare", str(record), str(record)]) == 2
        assert "is the record of a trial" in capsys.readouterr().err
        return
    empty = tmp_path / "e.nscope"
    TrialStore(empty).close()
    assert main(["report", str(empty)]) == 2
    assert "ended before its first run" in capsys.readouterr().err
    assert main(["report", str(record), "--format", "sarif", "--output", "x.sarif"]) == 2
    assert "choose text, json or html" in capsys.readouterr().err
    damaged = tmp_path / "d.nscope"
    damaged.write_bytes(record.read_bytes()[:5000])
    with pytest.raises(NormscopeError, match="is damaged"):
        stored(damaged)
