# pyright: basic
"""Observing a live process: the observer with the probes that it answers at the end, for `run` and for notebooks."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from normscope.probes import atexit
from normscope.record.store import Store, load
from normscope.record.torch import Observer, active, observe

if TYPE_CHECKING:
    from torch import nn

    from normscope.report.shown import Shown

__all__ = ["Run", "active", "finish", "observe", "watch"]


def finish(observer: Observer, *, probe: bool) -> None:
    """End the observation: ask the probes if wanted, then write what is left. The caller closes the store."""
    if os.getpid() != observer.process:
        return
    observer.finish()
    if probe and not observer.failed:
        try:
            atexit.ask(observer)
        except Exception as error:  # noqa: BLE001
            observer.fail(error)
    observer.close()


class Run:
    """What a `watch` block saw. `diagnose` may be called once the block has ended, any number of times."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def diagnose(self) -> Shown:
        """The diagnosis; printed or in a notebook it shows itself as a report."""
        from normscope.report.shown import shown

        return shown(load(self.path))

    def _repr_html_(self) -> str:
        return self.diagnose()._repr_html_()


@contextmanager
def watch(
    *models: nn.Module,
    record: Path | str | None = None,
    budget: float = 0.01,
    keep_bytes: int = 64 << 20,
) -> Iterator[Run]:
    """Observe what the block trains: `with normscope.watch(model) as run: …`, then `run.diagnose()`.

    Args:
        models: kept alive until the probes have asked them; others that the block trains are observed as well.
        record: file for the recording; by default a new one in the system's temporary folder.
        budget: share of the loop's time that observing may take.
        keep_bytes: bound on the host copies of training inputs.

    An exception in the block passes unchanged; what was seen until then can be diagnosed. Inside a run that is observed
    already, `normscope run` or another `watch`, the block belongs to that recording.
    """
    if (outer := active()) is not None:
        # Two observers would each see half: the block belongs to the run that is being observed already.
        try:
            yield Run(outer.store.path)
        finally:
            outer.flush()
        return
    path = Path(record) if record else Path(tempfile.mkdtemp(prefix="normscope-")) / "watch.nscope"
    store = Store.create(path)
    for key, value in {"target": "watch", "started": time.time(), "status": "running"}.items():
        store.put_meta(key, value)
    observer = observe(store, budget=budget, keep_bytes=keep_bytes)
    observer.watched = models
    status: str = "exit 0"
    try:
        yield Run(path)
    except SystemExit as end:
        status = f"exit {end.code or 0}"
        raise
    except BaseException as error:
        status = f"exception {type(error).__name__}: {error}"
        raise
    finally:
        finish(observer, probe=status.startswith("exit"))
        store.put_meta("status", status)
        store.close()
