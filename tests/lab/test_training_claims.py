"""Training claims from end to end, at quick scale; and every experiment in miniature."""

from __future__ import annotations

import json

import pytest

from normscope.lab import figures, table
from normscope.lab.claim import QUICK, Cell, Claim, Numbers, Results
from normscope.lab.data import Data


@pytest.mark.slow
def test_two_claims_at_quick_scale(normscope, claims_of):
    words = ("lab", "zero-gamma", "forgotten-eval", "--jobs", "1", "--format", "json")
    result = normscope(*words)
    assert result.returncode == 0, result.stderr
    forgotten, zero = claims_of(result)
    assert zero["verdict"] == "holds when there is no residual connection around it"
    assert forgotten["verdict"].startswith("holds")
    assert zero["interval"][1] < -5
    assert forgotten["interval"][0] > 0


@pytest.fixture(scope="module")
def rows_of(digits):
    """What each experiment measures in miniature, one epoch and two seeds; claims that share runs share it."""
    known: dict[str, list[tuple[Cell, Numbers]]] = {}

    def measured(claim: Claim) -> list[tuple[Cell, Numbers]]:
        if claim.runs not in known:
            known[claim.runs] = [_measured(claim, c, digits) for c in claim.cells(QUICK)]
        return known[claim.runs]

    return measured


def _measured(claim: Claim, cell: Cell, digits: Data) -> tuple[Cell, Numbers]:
    """Cell and numbers as they come out of the store."""
    small = {**cell, "seeds": cell["seeds"][:2]} | ({"epochs": 1} if "epochs" in cell else {})
    if cell.get("batch", 32) == 2:
        small["train_images"] = 200
    return json.loads(json.dumps(cell)), json.loads(json.dumps(claim.measure(small, digits)))


@pytest.mark.slow
@pytest.mark.parametrize("name", table.NAMES)
def test_every_experiment_in_miniature(name, rows_of, tmp_path):
    """It is measured, stored as JSON, judged and drawn."""
    claim = table.of_name(name)
    results = Results(rows_of(claim))
    assert claim.judge(results).verdict.split(" when ")[0] in (
        "holds",
        "does not hold",
        "undecided",
    )
    figures.save(lambda axes: claim.draw(results, axes), tmp_path / "plot.svg")
    assert (tmp_path / "plot.svg").stat().st_size > 1000
