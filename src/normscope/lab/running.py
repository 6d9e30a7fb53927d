"""Measures the cells that are missing, in processes of their own or in this one, and keeps each as soon as it is there."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from normscope.lab.claim import Cell, Claim, Numbers, Scale
from normscope.lab.store import Store, key_of

if TYPE_CHECKING:
    from normscope.lab.data import Data


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


@dataclass(frozen=True, slots=True)
class Done:
    """`failure` tells what went wrong where there are no `numbers`; `seconds` of processor time."""

    task: Task
    numbers: Numbers | None
    seconds: float
    failure: str = ""


def missing(claims: Sequence[Claim], store: Store, scale: Scale, data: str) -> list[Task]:
    """What is not in the store yet; cells that claims share once."""
    found: dict[str, Task] = {}
    for claim in claims:
        for cell in claim.cells(scale):
            if not store.holds(claim.runs, cell, data, scale.name):
                key = key_of(claim.runs, cell, data, scale.name)
                found.setdefault(key, Task(claim.name, claim.runs, cell))
    return list(found.values())


def run(
    tasks: Sequence[Task],
    store: Store,
    source: Source,
    scale: Scale,
    *,
    jobs: int = 1,
    told: Callable[[Done], None] | None = None,
) -> list[Done]:
    """Measure `tasks` in `jobs` processes (0: in this one); those that failed. What was measured is in the store whatever comes next."""
    failed: list[Done] = []
    for done in _here(tasks, source) if jobs == 0 else _apart(tasks, source, jobs):
        if done.numbers is None:
            failed.append(done)
        else:
            task = done.task
            store.put(
                task.experiment, task.cell, source.name, scale.name, done.numbers, done.seconds
            )
        if told is not None:
            told(done)
    return failed


def _here(tasks: Sequence[Task], source: Source) -> Iterator[Done]:
    return (measured(t, source) for t in tasks)


def _apart(tasks: Sequence[Task], source: Source, jobs: int) -> Iterator[Done]:
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_die_quietly)
    try:
        # The longest first would end sooner, but a reader of the progress wants the claims one after another.
        waiting: list[Future[Done]] = [pool.submit(measured, t, source) for t in tasks]
        for future in as_completed(waiting):
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _die_quietly() -> None:
    """Ctrl-C reaches the workers too: they end, and the parent tells what is kept."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def measured(task: Task, source: Source) -> Done:
    """Measure one cell, on one thread: the order of sums is then the same everywhere. An exception becomes a `failure`, so that the other cells go on."""
    import torch

    from normscope.lab import table

    torch.set_num_threads(1)
    begun = time.process_time()
    try:
        numbers = table.of_name(task.claim).measure(task.cell, _data(source))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told at the end with the cell that it befell
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return Done(task, None, time.process_time() - begun, reason)
    return Done(task, numbers, time.process_time() - begun)


@lru_cache(maxsize=1)
def _data(source: Source) -> Data:
    from normscope.lab.data import load

    return load(source.name, source.path, limit=source.limit)
