"""SARIF and workflow commands: every finding once, with the place that was seen or none."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from normscope.diagnosis import Coverage, Diagnosis, Verdict
from normscope.finding import Finding
from normscope.fingerprint import fingerprint
from normscope.graph.model import Site
from normscope.record.recording import Recording
from normscope.report import github, sarif

SCHEMA = Path(__file__).with_name("sarif.schema.json")
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


def validate(log):
    """Against the part of the standard that is written here and, where a copy of it is named, the whole."""
    jsonschema.validate(log, json.loads(SCHEMA.read_text(encoding="utf-8")))
    if whole := os.environ.get("SARIF_SCHEMA"):
        jsonschema.validate(log, json.loads(Path(whole).read_text(encoding="utf-8")))


def test_the_log_follows_the_standard():
    strange = replace(FOUND, message="\ud800 \x00", layers=("a", "b.\n"), site=Site("a/é #1.py", 1))
    for findings in ((), (FOUND, NOWHERE), (strange, replace(NOWHERE, layers=("x",)))):
        log = json.loads(sarif.dumps(diagnosis(*findings)))
        validate(log)
        ids = [r["id"] for r in log["runs"][0]["tool"]["driver"]["rules"]]
        assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    "spoil",
    [
        {"level": "info"},
        {"message": "plain"},
        {"locations": [{}]},
        {"partialFingerprints": {"normscope/v1": 7}},
        {"severity": "error"},
    ],
    ids=str,
)
def test_what_does_not_follow_it_is_seen(spoil):
    log = json.loads(sarif.dumps(diagnosis(FOUND)))
    log["runs"][0]["results"][0] |= spoil
    with pytest.raises(jsonschema.ValidationError):
        validate(log)


def test_a_fingerprint_is_about_the_fault_alone():
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
    made = github.workflow_commands(diagnosis(replace(FOUND, message=text, site=Site(text, 1))))
    assert len(made.splitlines()) == 1
