"""One run of each script for all tests that ask about it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from twins.cases import HERE, Case
from twins.warm import Outcome

Outcomes = Callable[[Path], Outcome]


@pytest.fixture(scope="module")
def outcome_of(request: pytest.FixtureRequest) -> Iterator[Outcomes]:
    """A warm process of its own, one script a core: this one may have run autograd, whose threads do not survive a fork.

    It is told all scripts of a file of tests at once and answers in the order in which they end.
    """
    mine = [i for i in request.session.items if i.path == request.path]
    chosen = dict.fromkeys(path for i in mine if (path := _script_of(i)))
    command = [sys.executable, "-m", "tests.twins.warm", str(os.cpu_count() or 1)]
    known: dict[Path, Outcome] = {}
    with subprocess.Popen(
        command, cwd=HERE.parents[1], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        told, answers = process.stdin, process.stdout
        assert told
        assert answers
        told.writelines(f"{path}\n" for path in chosen)
        told.close()

        def wait_for(path: Path) -> Outcome:
            while path not in known:
                outcome = Outcome(**json.loads(answers.readline()))
                known[Path(outcome.path)] = outcome
            return known[path]

        yield wait_for
        process.terminate()  # of use only when the tests were cut short


def _script_of(item: pytest.Item) -> Path | None:
    """The script that a test asks about: its parameter `case` or `script`."""
    given = getattr(item, "callspec", None)
    if given is None or "outcome_of" not in getattr(item, "fixturenames", ()):
        return None
    case = given.params.get("case")
    return case.path if isinstance(case, Case) else given.params.get("script")
