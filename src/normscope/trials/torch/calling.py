# pyright: basic
"""Whether batch norm is still computed by something that an arm did not reach: a function, or a layer that nothing found."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.modules import batchnorm

from normscope import nn as ours
from normscope.trials.outcome import give_up
from normscope.trials.patches import Patches
from normscope.trials.torch.becoming import put_there

_OURS = os.path.dirname(ours.__file__)
_LAYERS = batchnorm.__file__


_allowed: list[None] = []


@contextmanager
def allowed() -> Iterator[None]:
    """Within it calls are our own: a layer is tried out before it is exchanged."""
    _allowed.append(None)
    try:
        yield
    finally:
        _allowed.pop()


def refuse_what_is_left(patches: Patches, *, layers: bool) -> None:
    """The arm is not applicable once batch norm's function is called from elsewhere than our own layers.

    `layers`: PyTorch's own may call it, too, because the arm keeps them.
    """
    function = torch.nn.functional.batch_norm

    def called(*args: Any, **kwargs: Any) -> Any:
        if _allowed:
            return function(*args, **kwargs)
        frame = sys._getframe(1)
        caller = frame.f_code.co_filename
        # Layers of ours are heirs of PyTorch's, and call it from there in evaluation.
        if caller == _LAYERS and not layers and not put_there(frame.f_locals.get("self")):
            give_up("a batch norm layer was called that could not be exchanged before")
        if caller != _LAYERS and os.path.dirname(caller) != _OURS:
            give_up("batch norm is called as a function, which no arm can reach")
        return function(*args, **kwargs)

    patches.set(torch.nn.functional, "batch_norm", called)
