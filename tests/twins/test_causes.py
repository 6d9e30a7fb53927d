"""Causes before symptoms: the cause comes first and its symptoms are folded under it; of two causes, both are named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from twins.cases import HERE
from twins.conftest import Outcomes


@dataclass(frozen=True, slots=True)
class Folded:
    """A faulty twin, the code that its diagnosis begins with, and symptoms that it must hold under that."""

    twin: str
    cause: str
    symptoms: frozenset[str]
    slow: bool = True

    @property
    def script(self) -> Path:
        folder = HERE / "pairs" / self.twin
        return (folder if folder.exists() else HERE / "frozen" / self.twin) / "faulty.py"


# One of each of the most reported families of failures that have a rule, with the number of threads and pages that tell of it.
FAMILIES = (
    Folded("ns202_short_run", "NS202", frozenset({"NS408"}), slow=False),  # 27: stale statistics
    Folded("ns401_validate_back_to_train", "NS401", frozenset({"NS302"}), slow=False),  # 23
    Folded("ns403_feature_extractor", "NS403", frozenset({"NS408"})),  # 23
    Folded("ns302_outlier_in_the_tail", "NS302", frozenset({"NS408"})),  # 19
    Folded("ns409_swa_not_updated", "NS409", frozenset({"NS408"})),  # 18
    Folded("ns407_hard_coded_training", "NS111", frozenset({"NS407"}), slow=False),  # 15
    Folded("ns406_tracking_switched_off", "NS406", frozenset({"NS408"})),  # 15
    Folded("ns301_two_crops", "NS301", frozenset({"NS408", "NS601"})),  # 15
    Folded("ns305_source_then_target", "NS305", frozenset({"NS408"})),  # 13
    Folded("ns202_published_decay", "NS202", frozenset({"NS408"})),  # 12: slow averages
    Folded("ns201_port_fine_tuned", "NS201", frozenset({"NS408"})),  # 9
    Folded("ns410_filtered_checkpoint", "NS410", frozenset({"NS408"})),  # 8
)
TWO_CAUSES = {
    "momentum_and_fixed_flag": ("NS111", "NS201"),
    "epsilon_and_training_mode": ("NS401", "NS205"),
}


def families() -> list[object]:
    return [
        pytest.param(f, f.script, id=f.twin, marks=pytest.mark.slow if f.slow else ())
        for f in FAMILIES
    ]


@pytest.mark.parametrize(("family", "script"), families())
def test_symptoms_are_folded_under_their_cause(
    family: Folded, script: Path, outcome_of: Outcomes
) -> None:
    outcome = outcome_of(script)
    assert not outcome.error
    first, *rest = blaming(outcome.findings)
    assert first["code"] == family.cause
    assert first["explained_by"] is None
    folded = [f["code"] for f in rest if f["explained_by"] == family.cause]
    assert family.symptoms <= set(folded)
    assert not [
        f["code"] for f in rest if f["explained_by"] is None and f["code"] in family.symptoms
    ]
    # Nothing stands between a cause and its symptoms.
    assert all(f["explained_by"] == family.cause for f in rest[: len(folded)])


@pytest.mark.parametrize(
    ("script", "causes"),
    [pytest.param(HERE / "two_causes" / f"{n}.py", c, id=n) for n, c in TWO_CAUSES.items()],
)
def test_of_two_causes_both_are_named(
    script: Path, causes: tuple[str, ...], outcome_of: Outcomes
) -> None:
    outcome = outcome_of(script)
    assert not outcome.error
    named = [f["code"] for f in blaming(outcome.findings) if f["explained_by"] is None]
    assert sorted(named) == sorted(causes)


def blaming(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [f for f in findings if f["severity"] in ("warning", "error")]
