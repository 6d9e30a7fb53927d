"""Observes a block of plain training code in this process and gives back the recording that it left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from normscope import live
from normscope.record.recording import Recording
from normscope.record.store import Store, load
from normscope.record.torch import Observer
from normscope.record.torch import live as current

EVERYTHING = 1e9  # a budget under which nothing is thinned


class Observed:
    """The observer while the block runs; the recording after it."""

    def __init__(self, observer: Observer, path: Path) -> None:
        self.observer = observer
        self.path = path

    @property
    def recording(self) -> Recording:
        return load(self.path)


Observing = Callable[..., AbstractContextManager[Observed]]


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    yield
    current.observer[0] = None


@pytest.fixture
def observed(tmp_path: Path) -> Observing:
    @contextmanager
    def block(*, budget: float = EVERYTHING, **options: int) -> Iterator[Observed]:
        path = tmp_path / "run.nscope"
        store = Store.create(path)
        seen = Observed(live.observe(store, budget=budget, **options), path)
        try:
            yield seen
        finally:
            live.finish(seen.observer, probe=False)
            store.close()
        assert not load(path).events_of("observer-error")

    return block
