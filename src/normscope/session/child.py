"""In the process of the script: begin observing when it imports PyTorch or Keras, and close the recording when it ends.

Until then nothing is imported that the script might want to configure first: numpy and PyTorch read
environment variables when they are imported.
"""

from __future__ import annotations

import atexit
import os
import sys

from normscope.session.imports import ImportWatch

TYPE_CHECKING = False  # as `typing` has it, without importing that
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from normscope.record.keras import Observer as KerasObserver
    from normscope.record.store import Store
    from normscope.record.torch import Observer


def start(settings: dict[str, Any]) -> None:
    """Watch for the imports of PyTorch and Keras. `settings` is what the parent wrote (see `parent.Order`)."""
    Observed(settings).watch()


class Observed:
    """One observed process. Forked children of it stay silent: they share the file but must not write to it."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._pid = os.getpid()
        self._store: Store | None = None
        self._observer: Observer | None = None
        self._keras_observer: KerasObserver | None = None
        self._watches = [ImportWatch("torch", self._torch), ImportWatch("keras", self._keras)]

    def watch(self) -> None:
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)
        for watch in self._watches:
            watch.install()

    def _forked(self) -> None:
        for watch in self._watches:
            watch.remove()
        atexit.unregister(self._end)

    def _open(self) -> Store:
        """The recording, opened at the first import that matters; from then on the end is ours to write."""
        if self._store is None:
            from normscope.record.store import Store

            self._store = Store.create(self._settings["record"])
            for key, value in self._settings["meta"].items():
                self._store.put_meta(key, value)
            # Registered after the framework's own handlers, and therefore run before them.
            atexit.register(self._end)
        return self._store

    def _torch(self, _: ModuleType) -> None:
        if os.getpid() != self._pid:
            return
        try:
            store = self._open()
            # Not `normscope.live`: a script may be just importing that, and PyTorch through it.
            from normscope.record.torch import observe
            from normscope.session.tracebacks import hide_our_frames

            s = self._settings
            self._observer = observe(
                store, budget=s["budget"], keep_bytes=s["keep_bytes"], steps=s["steps"]
            )
            hide_our_frames()
        except Exception as problem:  # noqa: BLE001  the script goes on unharmed
            self._lost(problem)

    def _keras(self, keras: ModuleType) -> None:
        if os.getpid() != self._pid:
            return
        try:
            store, version = self._open(), str(getattr(keras, "__version__", "unknown"))
            if not hasattr(keras, "KerasTensor"):  # Keras 2
                store.put_meta("keras", version)
                return
            # Not `normscope.keras`: a script may be just importing that, and Keras through it.
            from normscope.record.keras import observe
            from normscope.session.tracebacks import hide_our_frames

            s = self._settings
            self._keras_observer = observe(
                store, budget=s["budget"], keep_bytes=s["keep_bytes"], steps=s["steps"]
            )
            if self._observer is None:
                hide_our_frames()
        except Exception as problem:  # noqa: BLE001
            self._lost(problem)

    def _lost(self, problem: BaseException) -> None:
        """Say in the recording that observing failed; on stderr where even that is impossible."""
        text = f"{type(problem).__name__}: {problem}"
        try:
            from normscope.record.recording import Event

            # Below the numbers that the observer gives to its own events.
            self._open().put("event", -1, Event(kind="observer-error", detail=text))
        except Exception:  # noqa: BLE001
            sys.stderr.write(f"normscope: this run is not observed: {text}\n")

    def _finish(self, status: str, *, probe: bool) -> None:
        """End the observations; the one that knows the run's models says how it ended."""
        crash = status.removeprefix("exception ") if status.startswith("exception") else ""
        keras, torch = self._keras_observer, self._observer
        if crash and (told := keras if keras is not None and keras.registry.roots else torch):
            told.event("crash", detail=crash)
        if torch is not None:
            from normscope.live import finish

            finish(torch, probe=probe)
        if keras is not None:
            from normscope.keras import finish as finish_keras

            finish_keras(keras, probe=probe)

    def _end(self) -> None:
        """At exit, after the script's threads and its own exit handlers."""
        if os.getpid() != self._pid or self._store is None:
            return
        # Python sets it for an exception that ended the script, and leaves it alone for SystemExit.
        for watch in self._watches:
            watch.remove()  # what the probes import is not the script's
        raised: BaseException | None = getattr(sys, "last_value", None)
        status = status_of(raised)
        try:
            # The observer for PyTorch first: what that for Keras knows of the run replaces what it said.
            self._finish(status, probe=raised is None)
        except (Exception, KeyboardInterrupt) as problem:  # noqa: BLE001
            self._lost(problem)
        try:
            # After an orderly end the parent, who alone learns the exit code, says it, if it is still there.
            if raised is not None or os.getppid() != self._settings["parent"]:
                self._store.put_meta("status", status)
            self._store.close()
        except Exception as problem:  # noqa: BLE001  the parent, or the next report, will say it
            sys.stderr.write(f"normscope: the recording was not closed: {problem}\n")
        if isinstance(raised, KeyboardInterrupt):
            still_interrupted()


def still_interrupted() -> None:
    """Let Python end by the signal, as it does after Ctrl-C.

    It remembers how the code that it ran last from a string ended, and what was imported here for the end (a dataclass
    is made by `exec`) made it forget the script's KeyboardInterrupt: the exit status would be 1.
    """
    from contextlib import suppress

    with suppress(KeyboardInterrupt):
        exec("raise KeyboardInterrupt")


def status_of(raised: BaseException | None) -> str:
    """`exit` for an orderly end, `signal 2` for Ctrl-C, else the exception's type and first line."""
    if raised is None:
        return "exit"
    if isinstance(raised, KeyboardInterrupt):
        return "signal 2"
    try:
        said = str(raised).splitlines()
    except Exception:  # noqa: BLE001  a user's exception whose text cannot be had
        said = []
    return f"exception {type(raised).__name__}: {said[0] if said else ''}".rstrip(": ")
