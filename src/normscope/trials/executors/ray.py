# pyright: basic
"""Runs on the workers of a Ray cluster. Every machine of it must see the user's folder under the same path.

A worker that dies takes its run along; Ray starts the run again elsewhere, and that begins by putting the files in order.
"""

from __future__ import annotations

import os
from concurrent.futures import Future
from importlib import import_module
from typing import Any, Generic

from normscope.errors import NormscopeError
from normscope.trials.executors import Perform, Result, Work
from normscope.trials.executors.local import SHARE
from normscope.trials.results import Run

TRIES = 5  # how often a run is begun anew because its worker died


class RayExecutor(Generic[Work, Result]):
    """`perform` is a function that workers can import. `address` is `auto` for the cluster that this machine belongs to, else `HOST:PORT` or `ray://…`; each run takes one processor.

    Raises NormscopeError where Ray is not installed or there is no cluster at the address.
    """

    def __init__(self, address: str, perform: Perform[Work, Result], cpus: float = 1) -> None:
        try:
            self._ray: Any = import_module("ray")
        except ImportError:
            raise NormscopeError(
                "`--ray` needs Ray, which is not installed: `pip install 'normscope[ray]'`."
            ) from None
        try:
            self._ray.init(
                address=address, log_to_driver=False, logging_level="ERROR", namespace="normscope"
            )
        except Exception as error:  # noqa: BLE001  Ray raises many kinds for one fact
            raise NormscopeError(
                f"No Ray cluster answers at `{address}` ({str(error).splitlines()[0]}). Start one with `ray start --head`, or leave `--ray` out."
            ) from None
        self._carry_out = perform
        self._cpus = cpus
        self.threads: int | None = max(1, int(cpus))
        self.room = max(1, int(self._ray.cluster_resources().get("CPU", 1) // cpus))
        self.note = ""
        self._here = os.getcwd()
        self._refs: list[Any] = []
        self._remote: Any = self._task({})

    def submit(self, job: Work) -> Future[Result]:
        ref = self._remote.remote(self._here, dict(os.environ), self._carry_out, job)
        self._refs.append(ref)
        return ref.future()

    def learn(self, run: Run) -> None:
        """Ray places runs by the memory that they say they need; and no more of them than fit the cluster."""
        if run.memory > 0:
            self._remote = self._task({"memory": run.memory})
            total = self._ray.cluster_resources().get("memory", 0)
            self.room = max(1, min(self.room, int(SHARE * total // run.memory) or 1))

    def close(self) -> None:
        for ref in self._refs:
            self._ray.cancel(ref, force=False, recursive=True)
        if self._refs:
            self._ray.wait(self._refs, num_returns=len(self._refs), timeout=60)
        self._ray.shutdown()

    def _task(self, needs: dict[str, Any]) -> Any:
        return self._ray.remote(num_cpus=self._cpus, max_retries=TRIES, **needs)(_perform)


def _perform(
    here: str, environment: dict[str, str], perform: Perform[Work, Result], job: Work
) -> Result:
    """In a worker: with the variables of whoever asked, except those that the worker has of its own."""
    os.chdir(here)
    for name, value in environment.items():
        os.environ.setdefault(name, value)
    return perform(job, lambda _: None)
