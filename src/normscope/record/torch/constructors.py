# pyright: basic
"""The constructors that are wrapped, so that it is known which call of the user's built a layer or a loader.

A wrapper runs the original, and only then notes where it was called from: what is built, and every error, is the original's.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from sys import _getframe
from typing import Any

from torch import nn
from torch.compiler import is_dynamo_compiling
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.utils.data import DataLoader

from normscope.record.torch import live

BUILT = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, _ConvNd, nn.Linear, DataLoader)


def install() -> None:
    """Wrap them, once per process and for good."""
    if hasattr(DataLoader.__init__, "__wrapped__"):
        return
    for made in BUILT:
        _wrap(made, "__init__", _constructor)
    _wrap(DataLoader, "__iter__", _iteration)


def _wrap(owner: type[Any], name: str, make: Callable[[Any], Any]) -> None:
    original = vars(owner)[name]
    wrapper: Any = functools.update_wrapper(make(original), original)
    # For those who ask without following wrappers.
    wrapper.__signature__ = inspect.signature(original)
    setattr(owner, name, wrapper)


def _constructor(original: Any) -> Callable[..., None]:
    code = original.__code__

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        original(self, *args, **kwargs)
        if is_dynamo_compiling() or (observer := live.observer[0]) is None:
            return
        observer.places.built(self, _getframe(1), code)

    return __init__


def _iteration(original: Any) -> Callable[..., Any]:
    def __iter__(self: Any) -> Any:  # noqa: N807
        if not is_dynamo_compiling() and (observer := live.observer[0]) is not None:
            observer.places.iterated(self)
        return original(self)

    return __iter__
