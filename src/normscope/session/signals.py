"""Wait for a child and pass on to it what was sent to us; end as it ended."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

FORWARDED = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)


def forwarded() -> set[signal.Signals]:
    """The signals to pass on: those that whoever started us did not tell us to ignore."""
    return {s for s in FORWARDED if signal.getsignal(s) is not signal.SIG_IGN}


def wait(pid: int) -> int:
    """Wait for the child `pid` to end, with `forwarded()` and SIGCHLD blocked; its wait status.

    Ctrl-C at a terminal reaches the child without us, so only what a process sent to us alone is passed on.
    """
    awaited = {signal.SIGCHLD, *forwarded()}
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            break
        # The time limit guards against a SIGCHLD that merged with another.
        info = signal.sigtimedwait(awaited, 1.0)
        if info is None or info.si_signo == signal.SIGCHLD:
            continue
        from_kernel = info.si_code > 0
        if not from_kernel and info.si_pid != pid:
            os.kill(pid, info.si_signo)
    while signal.sigtimedwait(awaited, 0) is not None:
        pass  # what came too late for the child is not for us either
    return status


def wait_with_handlers(pid: int) -> int:
    """As `wait`, for systems that do not tell who sent a signal.

    There, whatever the keyboard can send counts as sent by it while we are the terminal's foreground.
    """

    def forward(number: int, _: FrameType | None) -> None:
        keyboard = number in (signal.SIGINT, signal.SIGQUIT)
        if not (keyboard and in_foreground()):
            os.kill(pid, number)

    before = {s: signal.signal(s, forward) for s in forwarded()}
    signal.pthread_sigmask(signal.SIG_UNBLOCK, before)
    try:
        return os.waitpid(pid, 0)[1]
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)


def in_foreground() -> bool:
    """Whether our process group is the one that the terminal's keys signal."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def die_of(number: int) -> None:
    """End as the child did, so that a shell sees the same; without a core dump, for the crash was not ours."""
    import resource

    sys.stdout.flush()
    sys.stderr.flush()
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    # 1, not 0: a system that pipes its core dumps to a program heeds only that.
    resource.setrlimit(resource.RLIMIT_CORE, (0 if hard == 0 else 1, hard))
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
