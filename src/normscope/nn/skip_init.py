# pyright: basic
"""The scale of a residual branch, learned from 0."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class SkipInit(nn.Module):
    """Multiplies by one learned number α, 0 at first: `x + scale(branch(x))`.

    Batch norm makes deep residual networks trainable at first because it shrinks each branch against the skip path, by about
    √depth at initialization; a learned scale at the end of each branch that begins at 0 (or at most 1/√depth) does
    that without any statistics. It brings neither batch norm's regularization nor, at large batches, its large
    learning rates. De & Smith 2020, https://arxiv.org/abs/2002.10444.

    At the first step the branch's own weights have no gradient, for α = 0 stands in between; α itself has one. Use it where
    batch norm is taken out. No weight decay is needed on it.

    Args:
        value: α at first.
    """

    def __init__(self, value: float = 0.0, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.value = value
        self.scale = nn.Parameter(torch.empty((), device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.constant_(self.scale, self.value)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return input * self.scale

    def extra_repr(self) -> str:
        return f"value={self.value}"
