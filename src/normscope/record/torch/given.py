# pyright: basic
"""The latest input of a model, by which the next forward is told whether it gets the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class Given:
    """An input tensor as a weak reference, some of its values where they were looked at, and the step it was given in.

    One object for as long as the model lives: a counted forward writes to it without asking the model.
    """

    __slots__ = ("content", "ref", "step")

    def __init__(self) -> None:
        self.ref: Callable[[], Any] = nothing
        self.content: torch.Tensor | None = None
        self.step = -1


def nothing() -> None:
    """The reference to no tensor."""
