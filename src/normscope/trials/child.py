"""In the process of the script: seeds and arm are set up when it imports what they concern, and the outcome is kept.

With the seed's offset at 0 and the arm `as-is` nothing of what the script computes is touched.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import sys
from pathlib import Path

from normscope.session.imports import ImportWatch

TYPE_CHECKING = False  # as `typing` has it, without importing that
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from normscope.trials.settling import Armed

ALIVE, JOURNAL = "alive", "journal"  # in the run's folder
NOT_STARTED = 89  # the exit status of a run that could not be set up


def start(order: dict[str, Any]) -> None:
    """`order` has folder (the run's own), spared (paths), arm (kind, value), offset, and steps: those of the unchanged run, or None.

    The script does not run where this fails: without its arm and its guard it would be something else.
    """
    try:
        _start(order)
    except Exception as problem:  # noqa: BLE001  told to whoever started the run
        sys.stderr.write(f"{type(problem).__name__}: {problem}\n")
        sys.stderr.flush()
        os._exit(NOT_STARTED)


def _start(order: dict[str, Any]) -> None:
    from normscope.trials import outcome, seeding, settling
    from normscope.trials.files.guard import Guard
    from normscope.trials.patches import Patches

    folder = Path(order["folder"])
    end_with_parent()
    _hold(folder / ALIVE)
    run = outcome.begin(folder / "outcome.json")

    def not_kept(reason: str) -> None:
        run.told.reason = reason
        run.end(outcome.NO_COPY)

    kind, value = order["arm"]
    guard = Guard(folder / JOURNAL, order["spared"], not_kept)
    guard.install()
    atexit.register(run.write)
    offset: int = order["offset"]
    patches = Patches()
    seeding.of_python(offset, patches)

    armed: list[Armed] = []
    # Later than the writing, and therefore before it.
    atexit.register(lambda: settling.settle(kind, armed, run.told))

    def numpy(module: ModuleType) -> None:
        seeding.of_numpy(module, offset, patches)

    def torch(module: ModuleType) -> None:
        guard.of_torch(module)
        seeding.of_torch(module, offset, patches)
        from normscope.session.tracebacks import hide_our_frames
        from normscope.trials.torch import arming

        armed.append(arming.Armed(kind, value, order["steps"], run, patches))
        hide_our_frames()

    def keras(_: ModuleType) -> None:
        seeding.of_keras(offset, patches)
        from normscope.trials.keras import arming

        armed.append(arming.Armed(kind, value, order["steps"], run, patches))

    for name, then in (
        ("numpy", numpy),
        ("torch", torch),
        ("keras", keras),
        ("safetensors", guard.of_safetensors),
        ("h5py", guard.of_h5py),
    ):
        ImportWatch(name, then).install()


_held: list[int] = []


def _hold(file: Path) -> None:
    """As long as this process or a fork of it lives, the file is locked: who comes after a crash can tell, and end it."""
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(fd, str(os.getpid()).encode())
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    _held.append(fd)


def end_with_parent() -> None:
    """On Linux a run ends with the process that started it, however that ends."""
    if sys.platform == "linux":
        import ctypes
        import signal

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
