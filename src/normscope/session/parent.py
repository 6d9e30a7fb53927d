"""Start the script in a child process and wait for it, however it ends. Imports no framework."""

from __future__ import annotations

import marshal
import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from normscope.errors import NormscopeError
from normscope.session import signals
from normscope.session.target import Target

PACKAGE = Path(__file__).resolve().parents[2]
STARTUP = Path(__file__).resolve().parent / "startup"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to observe: `budget` as a share of the loop's time, `keep_bytes` of batches, `steps` or until the end."""

    record: Path
    budget: float = 0.01
    keep_bytes: int = 64_000_000
    steps: int | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """How the child ended: by its exit code, or by a signal."""

    code: int = 0
    signal: int | None = None

    def __str__(self) -> str:
        return f"exit {self.code}" if self.signal is None else f"signal {self.signal}"


def run(target: Target, settings: Settings) -> Ended:
    """Run `target` under observation; the recording then lies at `settings.record`.

    Raises NormscopeError, before the script is started, when the recording cannot be written.
    """
    if sys.flags.ignore_environment or sys.flags.no_site:
        raise NormscopeError(
            "This Python was started with -I, -E or -S, under which nothing can be observed. Start it without."
        )
    from normscope.record.store import Store, set_status

    _occupy_closed_streams()
    record = Path(os.path.abspath(settings.record))
    meta = {
        "target": target.name,
        "arguments": list(target.arguments),
        "python": sys.version.split()[0],
        "started": time.time(),
        "status": "running",
    }
    store = Store.create(record)
    for key, value in meta.items():
        store.put_meta(key, value)
    store.close()
    pythonpath = os.environ.get("PYTHONPATH")
    order = {
        "pythonpath": pythonpath,
        "parent": os.getpid(),
        "package": str(PACKAGE),
        "record": str(record),
        "budget": settings.budget,
        "keep_bytes": settings.keep_bytes,
        "steps": settings.steps,
        "meta": meta,
    }
    ended = _run(
        [sys.executable, *interpreter_flags(sys.orig_argv), *target.words],
        {
            **os.environ,
            "NORMSCOPE_RUN": marshal.dumps(order).hex(),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(STARTUP), pythonpath])),
        },
    )
    try:
        set_status(record, str(ended))
    except sqlite3.Error as error:
        # The script may have removed it. Reading it will say more; its own status must come through.
        sys.stderr.write(f"normscope: cannot complete the recording {record}: {error}\n")
    return ended


def _occupy_closed_streams() -> None:
    """Where we were started without stdin, stdout or stderr, keep SQLite from putting a null device there that the child inherits.

    A file of our own does not reach the child, which finds the stream closed, as without us.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)


def _run(command: list[str], environment: dict[str, str]) -> Ended:
    if not hasattr(os, "posix_spawn"):
        return _run_elsewhere(command, environment)
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # else the child's status would be lost
    # Blocked before the child exists, so that no signal falls between; the child gets the mask we had.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, *signals.forwarded()})
    try:
        pid = os.posix_spawn(command[0], command, environment, setsigmask=mask)
        wait = signals.wait if hasattr(signal, "sigtimedwait") else signals.wait_with_handlers
        status = wait(pid)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if os.WIFSIGNALED(status):
        return Ended(signal=os.WTERMSIG(status))
    return Ended(os.waitstatus_to_exitcode(status))


def _run_elsewhere(command: list[str], environment: dict[str, str]) -> Ended:
    """Windows: Ctrl-C reaches both processes, and there is no other signal to forward."""
    process = subprocess.Popen(command, env=environment)
    while True:
        try:
            return Ended(process.wait())
        except KeyboardInterrupt:
            continue


def interpreter_flags(command: list[str]) -> list[str]:
    """The options that this interpreter itself was started with, from `sys.orig_argv`."""
    flags: list[str] = []
    words = iter(command[1:])
    for word in words:
        if word.startswith("--") and len(word) > 2:
            flags += [word, *([next(words, "")] if word == "--check-hash-based-pycs" else [])]
            continue
        if not word.startswith("-") or word in ("-", "--"):
            break
        kept = "-"
        for i, letter in enumerate(word[1:], start=1):
            if letter in "mc":
                return flags + ([kept] if len(kept) > 1 else [])
            kept += letter
            if letter in "WX":  # its value is the rest of the word, or the next word
                flags += [word] if word[i + 1 :] else [word, next(words, "")]
                break
        else:
            flags.append(kept)
    return flags
