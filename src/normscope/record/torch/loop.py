# pyright: basic
"""A training loop that is known: what each of its forwards looks like from outside."""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType
from typing import Any

from torch import Size, nn

from normscope.record.torch.given import Given, nothing


class Loop:
    """Compared with each call of a model; in one small object, because caches are cold then (see `Pulse`)."""

    __slots__ = (
        "code",  # that calls the model
        "given",  # the model's latest input
        "instruction",  # of `code`, at which it calls
        "module",  # a reference to the model
        "norms",  # reference, mode, momentum, and whether the scale learns, of each of its norm layers
        "same",  # it gets one tensor each time
        "shape",  # of the input
        "training",  # the model's mode
    )

    def __init__(self) -> None:
        self.code: CodeType | None = None
        self.instruction = 0
        self.module: Callable[[], nn.Module | None] = nothing
        self.training = True
        self.shape: Size | None = None
        self.given = Given()
        self.same = False
        self.norms: list[tuple[Callable[[], nn.Module | None], bool, Any, bool]] = []
