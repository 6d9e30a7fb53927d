from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from normscope.diagnosis import Diagnosis
from normscope.report.json import dumps, dumps_schema, schema, to_json
from report import diagnoses

KEPT = Path(__file__).parents[2] / "docs" / "report.schema.json"
ALL = [diagnoses.failing, diagnoses.healthy, diagnoses.empty, diagnoses.hostile]


def test_the_kept_schema_is_the_generated_one() -> None:
    assert KEPT.read_bytes() == dumps_schema()


@pytest.mark.parametrize("build", ALL, ids=lambda f: f.__name__)
def test_reports_follow_the_schema(build: Callable[[], Diagnosis]) -> None:
    jsonschema.validate(to_json(build()), schema())
    assert json.loads(dumps(build())) == to_json(build())


@pytest.mark.parametrize(
    "spoil", [{"schema": 2}, {"verdict": None}, {"findings": [{"code": "NS401"}]}], ids=str
)
def test_the_schema_refuses_other_documents(spoil: dict[str, object]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(to_json(diagnoses.failing()) | spoil, schema())


def test_version_1_reads_as_documented() -> None:
    report = to_json(diagnoses.failing())
    assert list(report) == [
        "schema",
        "tool",
        "subject",
        "verdict",
        "findings",
        "not_evaluated",
        "coverage",
        "cost",
    ]
    assert report["subject"] == {
        "framework": "torch",
        "target": "train.py",
        "models": [{"name": "Net", "norm_layers": 2}],
        "steps": 480,
    }
    assert report["verdict"] == {
        "status": "failing",
        "primary": "NS401",
        "normalization_to_blame": True,
        "summary": diagnoses.CAUSE.message,
    }
    cause, symptom, _ = report["findings"]
    assert cause["site"] == {"file": "train.py", "line": 42}
    assert cause["steps"] == {"first": 120, "last": 480, "count": 7}
    assert cause["measured"][1] == {
        "name": "change of an output with its batch",
        "value": 0.31,
        "unit": "sd",
        "low": None,
        "high": 0.05,
        "noise": 0.01,
    }
    assert (cause["explained_by"], symptom["explained_by"]) == (None, "NS401")
    assert report["cost"] == {"budget": 0.01, "overhead": pytest.approx(0.006)}


def test_what_is_not_finite_or_not_measured_is_null() -> None:
    [measured] = to_json(diagnoses.hostile())["findings"][0]["measured"]
    assert measured["value"] is None
    assert measured["high"] is None
    assert to_json(diagnoses.empty())["cost"]["overhead"] is None
    assert b"NaN" not in dumps(diagnoses.hostile())


def test_undecodable_file_names_are_written_as_escapes() -> None:
    assert "undecodable \\udcff" in to_json(diagnoses.hostile())["coverage"]["notes"]
