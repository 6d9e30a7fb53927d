"""Where an operation was written: the running modules and the user's line, read from the call stack.

The stack is read instead of hooking the modules: nothing is registered, so nothing can be left behind, reordered,
copied or pickled, and modules that no container lists are seen like all others.
"""
# pyright: basic

from __future__ import annotations

import os
import sys
import sysconfig
from functools import cache
from types import CodeType
from typing import NamedTuple

import torch
from torch import nn
from torch._functorch.vmap import _flat_vmap

import normscope
from normscope.graph.model import Site

# Only this frame's locals are read: reading a frame's locals may keep them alive until it returns, and this one
# holds nothing that would not live as long anyway.
_CALL = nn.Module._call_impl.__code__
_INSTANCE_NORM = nn.functional.instance_norm.__code__
_VMAP = _flat_vmap.__code__

_TORCH = os.path.dirname(torch.__file__) + os.sep
_OURS = os.path.dirname(normscope.__file__) + os.sep
_STANDARD = (sysconfig.get_path("stdlib") + os.sep, sysconfig.get_path("platstdlib") + os.sep)
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


def _working_directory() -> str:
    try:
        return os.path.join(os.getcwd(), "")
    except OSError:  # it was deleted: every file is shown in full
        return ""


_STARTED_IN = _working_directory()
_kinds: dict[str, str] = {}
# Functions of ours that call a model themselves: above them nobody's line called it.
CALLERS: set[CodeType] = set()


class Location(NamedTuple):
    running: list[nn.Module]  # innermost first
    site: Site | None
    instance_norm: bool = False  # inside `torch.nn.functional.instance_norm`
    vmap: bool = False  # tensors have dimensions more than the user's code says


@cache
def shown(file: str) -> str:
    """The file as the user would name it: relative to the folder that the run was started in, where it lies below."""
    return file.removeprefix(_STARTED_IN)


def locate(model: nn.Module) -> Location:
    """The modules that run right now and the user's line.

    The line is the innermost one of the user's own below the model's call; else of an installed package's there; else
    (a model made of the framework's modules alone) the user's line that called the model, if it was not ours.
    """
    running: list[nn.Module] = []
    installed: Site | None = None
    site: Site | None = None
    instance_norm = vmap = below = False
    frame = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if code is _CALL:
            module = frame.f_locals.get("self")
            if not below and isinstance(module, nn.Module):
                running.append(module)
            below = below or module is model
        elif code is _INSTANCE_NORM:
            instance_norm = True
        elif code is _VMAP:
            vmap = True
        elif code in CALLERS:
            break
        elif site is None:
            kind = _kind(code)
            if kind == "user":
                site = Site(shown(code.co_filename), frame.f_lineno)
            elif kind == "installed" and installed is None:
                installed = Site(shown(code.co_filename), frame.f_lineno)
        if below and (site or installed):
            break
        frame = frame.f_back
    return Location(running, site or installed, instance_norm, vmap)


def users_line() -> Site | None:
    """The innermost line of the user's own that runs right now; else of an installed package's; else None."""
    installed: Site | None = None
    frame = sys._getframe(1)
    while frame is not None:
        kind = _kind(frame.f_code)
        if kind == "user":
            return Site(shown(frame.f_code.co_filename), frame.f_lineno)
        if kind == "installed" and installed is None:
            installed = Site(shown(frame.f_code.co_filename), frame.f_lineno)
        frame = frame.f_back
    return installed


def _kind(code: CodeType) -> str:
    kind = _kinds.get(code.co_filename)
    if kind is None:
        kind = _kinds[code.co_filename] = _classify(code.co_filename)
    return kind


def _classify(file: str) -> str:
    if file.startswith((_TORCH, _OURS, "<")) and not file.startswith("<ipython"):
        return "machinery"
    if any(part in file for part in _INSTALLED):
        return "installed"
    return "machinery" if file.startswith(_STANDARD) else "user"
