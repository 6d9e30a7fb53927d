"""SARIF and workflow commands: every finding once, with the place that was seen or none."""

from __future__ import annotations

import json

import pytest

from normscope.diagnosis import Coverage, Diagnosis, Verdict
from normscope.finding import Finding
from normscope.fingerprint import fingerprint
from normscope.graph.model import Site
from normscope.record.recording import Recording
from normscope.report import github, sarif

FOUND = Finding(
    "Says 1 thing: 50 % of it.",
    "error",
    model="Net",
    layers=("a.b",),
    site=Site("net x.py", 3),
    code="NS105",
    name="wrong-axis",
)
NOWHERE = Finding("Says 2.", "info", code="NS101", name="redundant-bias")
SYMPTOM = Finding("Says 3.", "warning", code="NS502", name="x", explained_by="NS105")


def diagnosis(*findings):
    verdict = Verdict("failing", "NS105", True, "Says 1.")
    return Diagnosis(Recording(), verdict, findings, (), Coverage())


def results(*findings):
    log = json.loads(sarif.dumps(diagnosis(*findings)))
    [run] = log["runs"]
    return run, run["results"]


def test_a_place_that_was_seen():
    run, [result] = results(FOUND)
    [place] = result["locations"]
    assert place["physicalLocation"] == {
        "artifactLocation": {"uri": "net%20x.py"},
        "region": {"startLine": 3},
    }
    assert place["logicalLocations"][0]["fullyQualifiedName"] == "Net.a.b"
    assert result["level"] == "error"
    assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == "NS105"


def test_no_place_is_made_up():
    _, [result] = results(NOWHERE)
    assert "locations" not in result
    assert result["level"] == "note"


def test_symptoms_are_left_to_their_cause():
    _, listed = results(FOUND, SYMPTOM)
    assert [r["ruleId"] for r in listed] == ["NS105"]
    assert "NS502" not in github.workflow_commands(diagnosis(FOUND, SYMPTOM))


def test_the_log_has_what_the_standard_asks_for():
    """SARIF 2.1.0: sections 3.13 (log), 3.14 (run), 3.18 (tool), 3.27 (result), 3.49 (rules)."""
    log = json.loads(sarif.dumps(diagnosis(FOUND, NOWHERE)))
    assert log["version"] == "2.1.0"
    assert set(log) == {"$schema", "version", "runs"}
    for run in log["runs"]:
        driver = run["tool"]["driver"]
        assert driver["name"] == "normscope"
        ids = [r["id"] for r in driver["rules"]]
        assert len(ids) == len(set(ids))
        for entry in driver["rules"]:
            assert all(entry[k]["text"] for k in ("shortDescription", "fullDescription", "help"))
            assert entry["defaultConfiguration"]["level"] in ("none", "note", "warning", "error")
        for result in run["results"]:
            assert result["message"]["text"]
            assert result["level"] in ("none", "note", "warning", "error")
            assert all(isinstance(v, str) for v in result["partialFingerprints"].values())


def test_a_fingerprint_is_about_the_fault_alone():
    from dataclasses import replace

    assert fingerprint(FOUND) == fingerprint(
        replace(FOUND, site=Site("net x.py", 99), message="Says 7.", severity="warning")
    )
    for other in (
        replace(FOUND, code="NS101"),
        replace(FOUND, model="Other"),
        replace(FOUND, layers=("a.c",)),
    ):
        assert fingerprint(FOUND) != fingerprint(other)


def test_workflow_commands_escape_what_would_end_them():
    [line] = github.workflow_commands(diagnosis(FOUND)).splitlines()
    assert (
        line == "::error file=net x.py,line=3,title=NS105 wrong-axis::Says 1 thing: 50 %25 of it."
    )


@pytest.mark.parametrize("text", ["a\nb", "a\r::error::b", "a,b:c"])
def test_text_of_the_user_cannot_start_another_command(text):
    from dataclasses import replace

    made = github.workflow_commands(diagnosis(replace(FOUND, message=text, site=Site(text, 1))))
    assert len(made.splitlines()) == 1
