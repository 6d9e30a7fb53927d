"""Each twin script, observed and diagnosed: the faulty one is blamed for its mistake, the healthy one for nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from twins.cases import HERE, Case, cases
from twins.runner import explain, right
from twins.warm import Outcome

Outcomes = Callable[[Case], Outcome]


@pytest.fixture(scope="module")
def outcome_of(request: pytest.FixtureRequest) -> Iterator[Outcomes]:
    """A warm process of its own, one script a core: this one may have run autograd, whose threads do not survive a fork.

    It is told all chosen scripts at once and answers in the order in which they end.
    """
    chosen = [i.callspec.params["case"].path for i in request.session.items if _is_twin(i)]
    command = [sys.executable, "-m", "tests.twins.warm", str(os.cpu_count() or 1)]
    known: dict[Path, Outcome] = {}
    with subprocess.Popen(
        command, cwd=HERE.parents[1], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.writelines(f"{path}\n" for path in chosen)
        process.stdin.close()

        def wait_for(case: Case) -> Outcome:
            while case.path not in known:
                outcome = Outcome(**json.loads(process.stdout.readline()))
                known[Path(outcome.path)] = outcome
            return known[case.path]

        yield wait_for
        process.terminate()  # of use only when the tests were cut short


def _is_twin(item: pytest.Item) -> bool:
    return getattr(item, "originalname", "") == "test_twin"


def chosen() -> Iterator[object]:
    """Every script; slow are all but the first pair of each rule, the frozen pairs, and every second healthy script."""
    seen: Counter[str] = Counter()
    for case in cases():
        kind = "healthy" if case.name.startswith("healthy/") else case.path.parent.parent.name
        rule = case.path.parent.name.split("_")[0]
        first = {"healthy": seen["healthy"] % 2 == 0, "frozen": True}.get(kind, seen[rule] < 2)
        seen["healthy" if kind == "healthy" else rule] += 1
        yield pytest.param(case, id=case.name, marks=() if first else pytest.mark.slow)


@pytest.mark.parametrize("case", list(chosen()))
def test_twin(case: Case, outcome_of: Outcomes) -> None:
    outcome = outcome_of(case)
    assert right(case, outcome), explain(case, outcome)
