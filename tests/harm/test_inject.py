"""Whatever breaks inside the observer, the script does not notice, and the recording says that observing stopped."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

# When these fail, nothing can be written any more: the parent process tells of it instead.
MUTE = {"Store.put", "Store.flush", "Store.close"}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    script = Path(__file__).with_name("inject.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path_factory.mktemp("inject"))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_function_of_the_observer_was_broken(answers: list[dict[str, object]]) -> None:
    reached = {a["broken"] for a in answers[1:] if int(str(a.get("calls", 0))) >= 1}
    assert len(reached) >= 40
    assert {"NormFunctions.before_batch_norm", "Losses.loss", "AfterStep.step"} <= reached


def test_no_error_reaches_the_script(answers: list[dict[str, object]]) -> None:
    assert [a for a in answers[1:] if "escaped" in a] == []


def test_weights_and_random_states_are_those_of_the_bare_run(
    answers: list[dict[str, object]],
) -> None:
    plain = answers[0]["plain"]
    assert [a["broken"] for a in answers[1:] if a.get("digest", plain) != plain] == []


def test_the_recording_can_be_read(answers: list[dict[str, object]]) -> None:
    assert [a for a in answers[1:] if "unreadable" in a] == []


def test_the_recording_says_that_observing_stopped(answers: list[dict[str, object]]) -> None:
    broken = [a for a in answers[1:] if int(str(a.get("calls", 0))) >= int(str(a["first"]))]
    silent = {str(a["broken"]) for a in broken if not a["told"]}
    assert silent - MUTE == set()
