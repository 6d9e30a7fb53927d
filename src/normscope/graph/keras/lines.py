# pyright: basic
"""Whose line it is: the innermost frame of the user's own code, else of an installed package that is neither Keras nor its backend."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Mapping
from functools import cache
from types import CodeType, FrameType
from typing import Any

import keras
import msgspec

import normscope
from normscope.graph.model import Graph, Site

_MACHINERY = (
    os.path.dirname(os.path.abspath(normscope.__file__)) + os.sep,
    os.path.dirname(os.path.abspath(keras.__file__)) + os.sep,
    sysconfig.get_path("stdlib") + os.sep,
    sysconfig.get_path("platstdlib") + os.sep,
    "<",
)
_BACKENDS = tuple(
    f"{os.sep}{folder}{os.sep}{name}{os.sep}"
    for folder in ("site-packages", "dist-packages")
    for name in ("torch", "jax", "jaxlib", "tensorflow", "optree", "numpy")
)
# Functions of ours that call a model themselves: above them nobody's line called it.
CALLERS: set[CodeType] = set()


def _working_directory() -> str:
    try:
        return os.path.join(os.getcwd(), "")
    except OSError:  # it was deleted: every file is shown in full
        return ""


_STARTED_IN = _working_directory()


@cache
def _kind(file: str) -> str:
    if "site-packages" in file or "dist-packages" in file:
        keras_or_backend = file.startswith(_MACHINERY) or any(b in file for b in _BACKENDS)
        return "machinery" if keras_or_backend else "installed"
    return "machinery" if file.startswith(_MACHINERY) else "user"


def users_line(built: Any = None) -> Site | None:
    """The innermost line of the user's own that runs right now; else of an installed package's; else None.

    `built` is a layer whose constructor runs: the lines inside it are not meant, but the one that called it.
    """
    installed: Site | None = None
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code not in CALLERS:
        code = frame.f_code
        kind = _kind(code.co_filename)
        inside = (
            built is not None
            and code.co_name == "__init__"
            and bool(code.co_varnames)
            and frame.f_locals.get(code.co_varnames[0]) is built
        )
        if kind != "machinery" and not inside:
            site = Site(code.co_filename.removeprefix(_STARTED_IN), frame.f_lineno)
            if kind == "user":
                return site
            installed = installed or site
        frame = frame.f_back
    return installed


def with_lines(graph: Graph, lines: Mapping[str, Site | None]) -> Graph:
    """The graph where a node without a line has that of its layer, by path.

    Layers of a functional model are called on no line of a forward pass: that of their making stands for it.
    """
    return Graph(
        [msgspec.structs.replace(n, site=n.site or lines.get(n.path)) for n in graph],
        model=graph.model,
        training=graph.training,
        coverage=graph.coverage,
    )
