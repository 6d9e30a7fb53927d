# pyright: basic
"""Observing Keras 3 models: `normscope run train.py` does it by itself, `Observer()` as a callback does it in a notebook."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras

from normscope.probes.keras import atexit, late
from normscope.record.keras import Observer as _Observer
from normscope.record.keras import active, observe
from normscope.record.store import Store, load

__all__ = ["Observer", "finish", "observe"]

if TYPE_CHECKING:
    from normscope.report.shown import Shown


def finish(observer: _Observer, *, probe: bool) -> None:
    """End the observation: ask the probes if wanted, then write what is left. The caller closes the store."""
    if os.getpid() != observer.process:
        return
    observer.finish()
    if probe and not observer.failed:
        try:
            observer.loops.sources.read_again()
            late.import_torch()
            atexit.ask(observer)
        except Exception as error:  # noqa: BLE001
            observer.fail(error)
    observer.close()


class Observer(keras.callbacks.Callback):
    """A callback that observes the training of a process: `model.fit(…, callbacks=[observer])`, then `observer.diagnose()`.

    It observes from the moment when it is made, so that hand-written loops and evaluations beside `fit` count too, until it is asked for the
    diagnosis. In a run that is observed already, by `normscope run` or another callback, it leaves that to the other.

    Args:
        record: file for the recording; by default a new one in the system's temporary folder.
        budget: share of the loop's time that observing may take.
        keep_bytes: bound on the host copies of training inputs.
    """

    def __init__(
        self, record: Path | str | None = None, budget: float = 0.01, keep_bytes: int = 64 << 20
    ) -> None:
        super().__init__()
        self._observer: _Observer | None = None
        self._outer = active()
        if self._outer is not None:
            self.path = self._outer.store.path
            return
        self.path = (
            Path(record) if record else Path(tempfile.mkdtemp(prefix="normscope-")) / "fit.nscope"
        )
        store = Store.create(self.path)
        for key, value in {"target": "fit", "started": time.time(), "status": "running"}.items():
            store.put_meta(key, value)
        self._observer = observe(store, budget=budget, keep_bytes=keep_bytes)

    def diagnose(self) -> Shown:
        """End observing, if this has not been done, and judge what was seen."""
        observer, self._observer = self._observer, None
        if observer is not None:
            finish(observer, probe=True)
            observer.store.put_meta("status", "exit 0")
            observer.store.close()
        elif self._outer is not None and active() is self._outer:
            self._outer.flush()
        from normscope.report.shown import shown

        return shown(load(self.path))

    def _repr_html_(self) -> str:
        return self.diagnose()._repr_html_()

    def __deepcopy__(self, memo: dict[int, Any]) -> Observer:
        return self  # one observation, whoever copies the list of callbacks
