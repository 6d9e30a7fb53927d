"""What is still to be measured, measured by an executor, and kept as soon as it is there."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from normscope.lab.claim import Cell, Claim, Numbers, Scale
from normscope.lab.store import Store, key_of

if TYPE_CHECKING:
    from normscope.lab.data import Data
    from normscope.trials.executors import Executor


@dataclass(frozen=True, slots=True)
class Source:
    """Where the data come from. `limit`: at most so many images, None for all."""

    name: str = "digits"
    path: Path | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A cell that is to be measured; `claim` is the first that asks for it."""

    claim: str
    experiment: str
    cell: Cell
    scale: str
    source: Source


@dataclass(frozen=True, slots=True)
class Done:
    """`failure` tells what went wrong where there are no `numbers`; `seconds` of processor time."""

    task: Task
    numbers: Numbers | None
    seconds: float
    failure: str = ""


def missing(claims: Sequence[Claim], store: Store, scale: Scale, source: Source) -> list[Task]:
    """What is not in the store yet; cells that claims share once."""
    found: dict[str, Task] = {}
    for claim in claims:
        for cell in claim.cells(scale):
            if not store.holds(claim.runs, cell, source.name, scale.name):
                key = key_of(claim.runs, cell, source.name, scale.name)
                found.setdefault(key, Task(claim.name, claim.runs, cell, scale.name, source))
    return list(found.values())


def run(
    tasks: Sequence[Task],
    store: Store,
    executor: Executor[Task, Done],
    *,
    told: Callable[[Done], None] | None = None,
) -> list[Done]:
    """Have `tasks` measured; those that failed. What was measured is in the store whatever comes next."""
    failed: list[Done] = []
    # The longest first would end sooner, but a reader of the progress wants the claims one after another.
    waiting = {executor.submit(t): t for t in tasks}
    for future in as_completed(waiting):
        done = _result(future, waiting[future])
        if done.numbers is None:
            failed.append(done)
        else:
            _keep(done.task, done.numbers, done.seconds, store)
        if told is not None:
            told(done)
    return failed


def _result(future: Future[Done], task: Task) -> Done:
    try:
        return future.result()
    except Exception as error:  # noqa: BLE001 - a worker may be lost in many ways; it is told at the end with its cell
        return Done(task, None, 0.0, _told(error))


def _keep(task: Task, numbers: Numbers, seconds: float, store: Store) -> None:
    store.put(task.experiment, task.cell, task.source.name, task.scale, numbers, seconds)


def measured(task: Task) -> Done:
    """Measure one cell, on one thread: the order of sums is then the same everywhere. An exception becomes a `failure`, so that the other cells go on."""
    import torch

    from normscope.lab import table

    torch.set_num_threads(1)
    begun = time.process_time()
    try:
        numbers = table.of_name(task.claim).measure(task.cell, _data(task.source))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told at the end with the cell that it befell
        return Done(task, None, time.process_time() - begun, _told(error))
    return Done(task, numbers, time.process_time() - begun)


def _told(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


@lru_cache(maxsize=1)
def _data(source: Source) -> Data:
    from normscope.lab.data import load

    return load(source.name, source.path, limit=source.limit)
