"""NS409 where the trained models' own statistics lag as well: they excuse the average only if they lag by as much."""

from __future__ import annotations

import pytest

from normscope.probes.results import Gap, Reading
from normscope.record.story import story
from normscope.rules.state.averaged_weights_without_statistics import (
    averaged_weights_without_statistics,
)

STORY = (
    "model optimized=False copy_of=1; source; layer a statistics_changed=False fresh_at_start=False; "
    "steps 100; infer a mode=eval since=20 steps=5 x5"
)


def gap(model: int, population: float, running: float) -> Gap:
    noise = 0.002
    return Gap(
        model=model,
        name="Net",
        measure="error",
        unit="1",
        samples=2000,
        batches=32,
        batch=Reading(population, noise),
        population=Reading(population, noise),
        running=Reading(running, noise),
        stale=Reading(running - population, noise),
        inconsistent=Reading(0.0, noise),
    )


@pytest.mark.parametrize(
    ("source", "severities"),
    [(0.04, ["error"]), (0.09, ["error"]), (0.12, []), (0.3, [])],
    ids=["a little", "less than half", "more than half", "more than the average"],
)
def test_the_source_excuses_what_it_explains(source: float, severities: list[str]) -> None:
    recording = story(STORY)
    recording.measurements["gap"] = [gap(0, 0.01, 0.21), gap(1, 0.01, 0.01 + source)]
    found = list(averaged_weights_without_statistics.check(recording))
    assert [f.severity for f in found] == severities
