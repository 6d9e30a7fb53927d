"""Uncaught exceptions are shown without our frames: those of wrapped functions that the script never wrote."""

from __future__ import annotations

import os
import sys
import threading
from types import TracebackType

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
# The names around a function of the framework that `record.torch.asking` compiled anew, and around no other.
_ASKING = frozenset(("call", "compiling", "live"))


def hide_our_frames() -> None:
    """Strip every uncaught exception, then let whoever shows exceptions now show it.

    A hook that the script installs later replaces this one, as it would replace Python's.
    """
    shown, shown_in_thread = sys.excepthook, threading.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        strip(error)
        shown(kind, error, without_ours(trace))

    def thread_hook(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None:
            strip(args.exc_value)
        shown_in_thread(args)

    sys.excepthook, threading.excepthook = hook, thread_hook


def strip(error: BaseException) -> None:
    """Take our frames out of the exception's traceback, and of those that led to it."""
    seen: set[int] = set()
    todo = [error]
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        one.__traceback__ = without_ours(one.__traceback__)
        todo += [e for e in (one.__cause__, one.__context__) if e is not None]
        if isinstance(one, BaseExceptionGroup):
            todo += one.exceptions  # pyright: ignore[reportUnknownMemberType]


def without_ours(trace: TracebackType | None) -> TracebackType | None:
    """The same traceback without frames whose code lies in this package.

    With them go those of the framework that are there for us: a function that asked us first, for we called the original,
    which has a frame as well; and that of an operation that we saw first while drawing the graph.
    """
    kept: list[TracebackType] = []
    ours = False
    while trace is not None:
        frame = trace.tb_frame
        called_by_us, ours = ours, frame.f_code.co_filename.startswith(_PACKAGE)
        if ours and kept and _ASKING.issubset(kept[-1].tb_frame.f_code.co_freevars):
            kept.pop()
        elif not ours and not (called_by_us and frame.f_globals.get("__name__") == "torch._ops"):
            kept.append(trace)
        trace = trace.tb_next
    chain: TracebackType | None = None
    for one in reversed(kept):
        chain = TracebackType(chain, one.tb_frame, one.tb_lasti, one.tb_lineno)
    return chain
