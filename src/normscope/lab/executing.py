"""Where cells are measured: by the executors of trials, in processes of this machine or by the workers of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from normscope.lab.running import Done, Task, measured
from normscope.lab.workers import Workers
from normscope.trials.executors import Executor

Cells = Executor[Task, Done]


@contextmanager
def executor_of(jobs: int, ray: str | None = None) -> Generator[Cells]:
    """`jobs` processes here, or the cluster at the address `ray`; closed when left, however that is.

    Raises NormscopeError where there is no such cluster.
    """
    if ray is not None:
        from normscope.trials.executors.ray import RayExecutor

        remote = RayExecutor(ray, measured_there)
        try:
            yield remote
        finally:
            remote.close()
        return
    from normscope.trials.executors.local import LocalExecutor

    with Workers() as workers:
        local = LocalExecutor(jobs, workers.perform)
        try:
            yield local
        finally:
            local.close()


def measured_there(task: Task, _started: Callable[..., object]) -> Done:
    """In a worker of the cluster, which stays for the next cell and needs no process besides."""
    return measured(task)
