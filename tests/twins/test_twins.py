"""Each twin script, observed and diagnosed: the faulty one is blamed for its mistake, the healthy one for nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from twins.cases import Case, cases
from twins.conftest import Outcomes
from twins.runner import explain, right


def chosen() -> Iterator[object]:
    """Every script; slow are all but the first pair of each rule, the first frozen one, and every second healthy script."""
    seen: Counter[str] = Counter()
    for case in cases():
        kind = "healthy" if case.name.startswith("healthy/") else case.path.parent.parent.name
        group = kind if kind == "healthy" else f"{kind} {case.path.parent.name.split('_')[0]}"
        first = seen[group] % 2 == 0 if kind == "healthy" else seen[group] < 2
        seen[group] += 1
        yield pytest.param(case, id=case.name, marks=() if first else pytest.mark.slow)


@pytest.mark.parametrize("case", list(chosen()))
def test_twin(case: Case, outcome_of: Outcomes) -> None:
    outcome = outcome_of(case.path)
    assert right(case, outcome), explain(case, outcome)
