# pyright: basic
"""Whose line it is: reading the call stack, cheaply and without keeping frames alive."""

from __future__ import annotations

import os
import sys
import sysconfig
from functools import cache
from types import FrameType

import torch
from torch import nn

from normscope.graph.model import Site
from normscope.graph.torch.location import shown
from normscope.record.torch.norms import kind_of

OURS = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + os.sep
_FRAMEWORK = (os.path.dirname(torch.__file__) + os.sep, OURS)
_LIBRARIES = tuple(
    p + os.sep for p in {sysconfig.get_path("purelib"), sysconfig.get_path("stdlib")} if p
)


@cache
def is_framework(file: str) -> bool:
    return file.startswith(_FRAMEWORK) or file.startswith("<frozen")


@cache
def is_library(file: str) -> bool:
    return is_framework(file) or file.startswith(_LIBRARIES)


def user_site(depth: int = 1) -> Site | None:
    """The innermost frame of the user's own code; failing that, the innermost outside the framework."""
    frame: FrameType | None = sys._getframe(depth)
    fallback: FrameType | None = None
    while frame is not None:
        file = frame.f_code.co_filename
        if not is_library(file):
            return Site(shown(file), frame.f_lineno)
        if fallback is None and not is_framework(file):
            fallback = frame
        frame = frame.f_back
    return None if fallback is None else Site(shown(fallback.f_code.co_filename), fallback.f_lineno)


def site_of_module_call(key: torch.Tensor | None) -> tuple[nn.Module | None, Site | None]:
    """The module whose method is calling a norm function, and the user's line.

    With a `key` tensor the module must hold it; else the innermost running module counts, when it is a norm layer itself.
    """
    frame: FrameType | None = sys._getframe(1)
    found: nn.Module | None = None
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, nn.Module):
            holds = key is not None and (
                any(b is key for b in owner._buffers.values())
                or any(p is key for p in owner._parameters.values())
            )
            if holds or kind_of(owner) is not None:
                found = owner
            break
        frame = frame.f_back
    return found, user_site(2)
