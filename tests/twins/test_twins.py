"""Each twin script, observed and diagnosed: the faulty one is blamed for its mistake, the healthy one for nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from twins.cases import HERE, Case, cases
from twins.runner import explain, right
from twins.warm import Outcome

Run = Callable[[Path], Outcome]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """A warm process of its own: this one may have run autograd, whose threads do not survive a fork."""
    command = [sys.executable, "-m", "tests.twins.warm"]
    with subprocess.Popen(
        command, cwd=HERE.parents[1], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout

        def ask(path: Path) -> Outcome:
            print(path, file=process.stdin, flush=True)
            return Outcome(**json.loads(process.stdout.readline()))

        yield ask
        process.stdin.close()


@pytest.mark.parametrize("case", cases(), ids=lambda c: c.name)
def test_twin(case: Case, run: Run) -> None:
    outcome = run(case.path)
    assert right(case, outcome), explain(case, outcome)
