"""However long the run, the file stays small: 100,000 steps of fake readings, losses and forwards."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import log
from pathlib import Path

import numpy as np
import pytest
import torch

from normscope.graph.model import Site
from normscope.record import polling, series
from normscope.record import timeline as timelines
from normscope.record.polling import Polling
from normscope.record.recording import SERIES, Layer, Model
from normscope.record.schedule import ENOUGH, Schedule
from normscope.record.store import Store, load
from normscope.record.timeline import Forward, Timeline
from normscope.record.torch import scalars
from normscope.record.torch.layers import NormLayer
from normscope.record.torch.roots import Root
from normscope.record.torch.scalars import ScalarSeries

STEPS = 100_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.create(tmp_path / "long.nscope")
    yield store
    store.close()


def size(store: Store) -> int:
    """Bytes of the file and its log."""
    return sum(p.stat().st_size for p in store.path.parent.iterdir())


def test_losses(store: Store) -> None:
    series = ScalarSeries(store)
    for step in range(1, STEPS + 1):
        series.on_backward(torch.tensor(float(step)))
        if series.due(step):
            series.take(step, None)
        if step % 5_000 == 0:
            store.flush()
    store.flush()
    assert size(store) < 4 << 20
    kept = load(store.path).scalars
    assert kept is not None
    assert scalars.MOST // 4 < len(kept.steps) <= scalars.MOST
    assert (kept.loss == kept.steps).all()
    assert kept.steps[0] <= STEPS // 1000
    assert kept.steps[-1] > STEPS * 0.99
    # Evenly over the run.
    assert np.diff(kept.steps).max() <= 4 * np.diff(kept.steps).min()


def test_readings_in_pairs(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = NormLayer(Layer(id=0, model=0, path="a", type="BatchNorm1d"), None)
    zero, one = np.zeros(1), np.ones(1)
    start = np.array([0])
    table = np.zeros((len(SERIES), 1), np.float32)

    def read(step: int) -> series.Reading:
        return series.Reading(step, [layer], start, zero, one, [step], [0.1], [1e-7])

    monkeypatch.setattr(series, "tables", lambda pairs: [table + new.step for _, new in pairs])
    reader = Polling(store, read, Schedule(1.0))
    taken = [s + i for s in range(0, STEPS, 20) for i in (1, 2)]
    for number, step in enumerate([0, *taken]):
        reader.poll(step)
        if number % 500 == 0:
            store.flush()
    reader.evaluate()
    store.flush()
    assert size(store) < 4 << 20
    kept = load(store.path).polls
    assert kept is not None
    steps = kept.steps.tolist()
    assert polling.MOST // 4 < len(steps) <= polling.MOST
    assert (steps[0], steps[-1]) == (0, taken[-1])
    assert (kept.values["mean_noise"][:, 0] == kept.steps).all()
    # The second reading of a pair is the one that gives a batch back: it is kept as often as the first.
    assert sum(s % 20 == 2 for s in steps) == pytest.approx(len(steps) / 2, rel=0.1)


def test_readings_thin_out_as_a_run_goes_on(store: Store) -> None:
    """However much there is to spend: each of the first steps, and later one in some 17, always in pairs."""
    layer = NormLayer(Layer(id=0, model=0, path="a", type="BatchNorm1d"), None)
    values = np.zeros(1), np.ones(1)

    def read(step: int) -> series.Reading:
        return series.Reading(step, [layer], np.array([0]), *values, [step], [0.1], [1e-7])

    reader, taken = Polling(store, read, Schedule(1e9)), []
    for step in range(1, STEPS):
        announced = reader.due(step, peek=True)
        assert announced == reader.due(step)
        if announced:
            reader.poll(step)
            taken.append(step)
    assert taken[:64] == [*range(1, 65)]
    late = [s for s in taken if s > STEPS // 2]
    assert 2 * ENOUGH * log(2) * 0.9 < len(late) < 2 * ENOUGH * log(2) * 1.1
    again = [b for a, b in pairwise(late) if b == a + 1]
    assert len(again) == pytest.approx(len(late) / 2, abs=1)


def test_forwards_of_every_size(store: Store) -> None:
    """Batches whose size never repeats would make a pattern each."""
    root = Root(None, Model(id=0, name="Net"))
    timeline = Timeline(store)
    site = Site("train.py", 3)
    for step in range(STEPS):
        forward = Forward(root, True, step, 2 * step, site)
        samples = 2 + step * 7919 % 20_011
        forward.calls = [(0, True, True, samples, samples, 0.1, False, True)]
        timeline.commit(forward, "training")
        if step % 5_000 == 0:
            store.flush()
    timeline.finish([root], STEPS)
    store.flush()
    assert size(store) < 8 << 20
    r = load(store.path)
    assert len(r.patterns) <= timelines.MOST_PATTERNS + 20
    assert len(r.spans) <= timelines.MOST_SPANS + timelines.MOST_PATTERNS
    assert sum(s.forwards for s in r.spans) == STEPS
    assert all(s.pattern in r.patterns for s in r.spans)
    assert (r.spans[0].first_step, max(s.last_step for s in r.spans)) == (0, STEPS - 1)
