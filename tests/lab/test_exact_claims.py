"""The exact claims are measured here, as they stand."""

from __future__ import annotations

import pytest

from normscope.lab import table
from normscope.lab.claim import QUICK, Results


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        (
            "redundant-bias",
            "holds when batch normalization follows directly and uses batch statistics",
        ),
        (
            "identity",
            "holds when the batch is the one whose σ and μ they are, or in eval mode with such running statistics",
        ),
        ("one-operation", "holds"),
    ],
)
def test_exact(name, verdict, digits):
    claim = table.of_name(name)
    judged = claim.judge(Results([(c, claim.measure(c, digits)) for c in claim.cells(QUICK)]))
    assert judged.verdict == verdict
    assert judged.high is not None
    assert judged.high < 1e-4
