"""Training claims from end to end, at quick scale; and every experiment in miniature."""

from __future__ import annotations

import json

import pytest

from normscope.lab import figures, table
from normscope.lab.claim import QUICK, Results


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


@pytest.mark.slow
@pytest.mark.parametrize("name", table.NAMES)
def test_every_experiment_in_miniature(name, digits, tmp_path):
    """One epoch and two seeds: it is measured, stored as JSON, judged and drawn."""
    claim = table.of_name(name)
    rows = []
    for cell in claim.cells(QUICK):
        small = {**cell, "seeds": cell["seeds"][:2]} | ({"epochs": 1} if "epochs" in cell else {})
        if cell.get("batch", 32) == 2 and claim.runs == "small-batch":
            small["train_images"] = 200
        rows.append(
            (json.loads(json.dumps(cell)), json.loads(json.dumps(claim.measure(small, digits))))
        )
    judged = claim.judge(Results(rows))
    assert judged.verdict.split(" when ")[0] in ("holds", "does not hold", "undecided")
    figures.save(lambda axes: claim.draw(Results(rows), axes), tmp_path / "plot.svg")
