# pyright: basic
"""Whether batch norm is still computed by something that an arm did not reach: a function, or a layer that nothing found."""

from __future__ import annotations

import os
import sys
from typing import Any

import torch
from normscope import nn as ours
from normscope.trials.outcome import give_up
from normscope.trials.patches import Patches
from torch.nn.modules import batchnorm

_OURS = os.path.dirname(ours.__file__)
_LAYERS = batchnorm.__file__


def refuse_what_is_left(patches: Patches, *, layers: bool) -> None:
    """The arm is not applicable once batch norm's function is called from elsewhere than our own layers.

    `layers`: PyTorch's own may call it, too, because the arm keeps them.
    """
    function = torch.nn.functional.batch_norm

    def called(*args: Any, **kwargs: Any) -> Any:
        caller = sys._getframe(1).f_code.co_filename
        if caller == _LAYERS and not layers:
            give_up("a batch norm layer was called that could not be exchanged before")
        if caller != _LAYERS and os.path.dirname(caller) != _OURS:
            give_up("batch norm is called as a function, which no arm can reach")
        return function(*args, **kwargs)

    patches.set(torch.nn.functional, "batch_norm", called)
