# pyright: basic
"""Whose line it is: the innermost frame of the user's own code."""

from __future__ import annotations

import os
import sys
import sysconfig
from functools import cache
from types import FrameType

import normscope
from normscope.graph.model import Site

GENERATED = "__autograph_generated_file"  # in the name of a file that TensorFlow rewrote
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_LIBRARIES = (
    os.path.dirname(os.path.abspath(normscope.__file__)) + os.sep,
    *(p + os.sep for p in {sysconfig.get_path("purelib"), sysconfig.get_path("stdlib")} if p),
    "<frozen",
    "<__array_function__",
)


def _working_directory() -> str:
    try:
        return os.path.join(os.getcwd(), "")
    except OSError:  # it was deleted: every file is shown in full
        return ""


_STARTED_IN = _working_directory()


@cache
def is_library(file: str) -> bool:
    return file.startswith(_LIBRARIES) or any(part in file for part in _INSTALLED)


def user_site(depth: int = 1) -> Site | None:
    """Where the user's own code called what runs now; None where none of it is on the stack."""
    frame: FrameType | None = sys._getframe(depth)
    while frame is not None:
        file = frame.f_code.co_filename
        if GENERATED in file:
            return _written()
        if not is_library(file):
            return Site(file.removeprefix(_STARTED_IN), frame.f_lineno)
        frame = frame.f_back
    return None


def _written() -> Site | None:
    """The same where TensorFlow runs a rewritten copy of the user's code: it knows which line each one came from."""
    from tensorflow.python.util import tf_stack  # pyright: ignore

    for frame in reversed(list(tf_stack.extract_stack())):
        if not is_library(frame.filename) and GENERATED not in frame.filename:
            return Site(frame.filename.removeprefix(_STARTED_IN), frame.lineno)
    return None
