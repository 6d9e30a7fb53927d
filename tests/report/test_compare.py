from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console
from syrupy.assertion import SnapshotAssertion

from normscope.comparison import Comparison, compare, loss_summary, median_noise
from normscope.diagnosis import Diagnosis
from normscope.finding import NotEvaluated
from normscope.report import change
from normscope.report.compare import dumps, render, to_json
from report import diagnoses


def text(comparison: Comparison) -> str:
    out = io.StringIO()
    render(comparison, Console(file=out, width=80, color_system=None))
    return out.getvalue()


def codes(findings: object) -> list[str]:
    assert isinstance(findings, tuple)
    return [f.code for f in findings]


def test_findings_gone_new_and_unchanged() -> None:
    c = compare(diagnoses.failing(), diagnoses.repaired())
    assert codes(c.gone) == ["NS401", "NS408"]
    assert codes(c.new) == []
    assert [(b.code, a.code) for b, a in c.unchanged] == [("NS101", "NS101")]
    back = compare(diagnoses.repaired(), diagnoses.failing())
    assert codes(back.new) == ["NS401", "NS408"]


def test_a_rule_that_could_not_run_after_leaves_its_finding_unjudged() -> None:
    after = replace(diagnoses.repaired(), not_evaluated=(NotEvaluated("NS401", "graph", ""),))
    c = compare(diagnoses.failing(), after)
    assert codes(c.unjudged) == ["NS401"]
    assert codes(c.gone) == ["NS408"]
    assert change.leading(c).startswith(
        "It cannot be said whether NS401 inference-in-train-mode is gone"
    )


def test_a_rule_that_could_not_run_before_is_not_called_new() -> None:
    before = replace(diagnoses.repaired(), not_evaluated=(NotEvaluated("NS401", "graph", ""),))
    c = compare(before, diagnoses.failing())
    assert codes(c.newly_judged) == ["NS401"]
    assert "cannot be said whether NS401 inference-in-train-mode is new" in change.leading(c)


def test_a_fault_at_other_layers_is_not_called_removed() -> None:
    elsewhere = replace(
        diagnoses.failing(), findings=(replace(diagnoses.CAUSE, layers=("features.7",)),)
    )
    said = change.leading(compare(diagnoses.failing(), elsewhere))
    assert "left NS401 inference-in-train-mode, now at other layers" in said
    assert "removed" not in said


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (diagnoses.empty, diagnoses.empty, "neither run was evaluated"),
        (diagnoses.failing, diagnoses.empty, "the run after was not evaluated"),
        (diagnoses.empty, diagnoses.failing, "the run before was not evaluated"),
        (diagnoses.failing, diagnoses.failing, "did not remove NS401"),
        (diagnoses.healthy, diagnoses.healthy, "there was none to remove"),
        (
            diagnoses.failing,
            diagnoses.repaired,
            "0.42 nats over recomputed ones before and 0.002 after",
        ),
    ],
)
def test_what_the_change_did(before: object, after: object, said: str) -> None:
    assert callable(before)
    assert callable(after)
    assert said in change.leading(compare(before(), after()))


def test_nothing_is_called_gone_by_a_run_that_was_not_evaluated() -> None:
    c = compare(diagnoses.failing(), diagnoses.empty())
    assert c.gone == ()
    assert codes(c.unjudged) == ["NS401", "NS408", "NS101"]


def test_gaps_in_different_measures_are_not_compared() -> None:
    after = diagnoses.repaired()
    after.recording.measurements["gap"] = [diagnoses.gap(0.0, measure="error", unit="1")]
    c = compare(diagnoses.failing(), after)
    assert [g.comparable for g in c.gaps] == [False]
    assert "running statistics cost" not in change.leading(c)
    assert any("is not compared" in x for x in change.caveats(c))
    assert not any("C running" in row[0] for row in change.rows(c))


def test_a_move_of_the_gap_within_its_noise_is_not_mentioned() -> None:
    before, after = diagnoses.healthy(), diagnoses.repaired()
    after.recording.measurements["gap"] = [diagnoses.gap(0.006)]
    assert "running statistics cost" not in change.leading(compare(before, after))


def test_numbers_side_by_side() -> None:
    c = compare(diagnoses.failing(), diagnoses.repaired())
    [metric] = c.metrics
    assert (metric.name, metric.before, metric.after) == ("accuracy", 0.81, 0.95)
    polls = c.before.recording.polls
    assert polls is not None
    noise = sorted(polls.values["mean_noise"].ravel().tolist())
    middle = (noise[len(noise) // 2 - 1] + noise[len(noise) // 2]) / 2
    assert median_noise(c.before.recording, "mean_noise") == pytest.approx(middle)
    scalars = c.before.recording.scalars
    assert scalars is not None
    scalars.loss[:] = range(len(scalars.loss))
    scalars.loss[3] = float("nan")
    told = loss_summary(c.before.recording)
    assert told is not None
    assert (told.first, told.lowest, told.values) == (0.0, 0.0, len(scalars.loss) - 1)
    assert told.final == pytest.approx(len(scalars.loss) - 6)


def test_runs_of_different_length_are_named() -> None:
    after = diagnoses.repaired()
    after.recording.steps = 10
    assert "480 steps before, 10 steps after" in text(compare(diagnoses.failing(), after))


def test_text(snapshot: SnapshotAssertion) -> None:
    assert text(compare(diagnoses.failing(), diagnoses.repaired())) == snapshot


@pytest.mark.parametrize("other", [diagnoses.failing, diagnoses.hostile, diagnoses.empty])
def test_json_is_finite_and_complete(other: object) -> None:
    assert callable(other)
    diagnosis = other()
    assert isinstance(diagnosis, Diagnosis)
    c = compare(diagnoses.hostile(), diagnosis)
    assert json.loads(dumps(c)) == to_json(c)
    assert "NaN" not in dumps(c).decode()
    assert list(to_json(c)["findings"]) == ["gone", "new", "unchanged", "unjudged", "newly_judged"]


def test_hostile_text_is_shown_not_obeyed() -> None:
    told = text(compare(diagnoses.hostile(), diagnoses.failing()))
    assert "\x1b" not in told
    assert "\u202e" not in told
