# pyright: basic
"""What the layers here have in common: inputs of any number of dimensions, and how a batch is counted."""

from __future__ import annotations

import torch
from torch.nn.modules.batchnorm import _BatchNorm


class BatchNormLayer(_BatchNorm):
    """Batch norm by PyTorch's kernel for inputs (N, C) and (N, C, *); `BatchNorm1d`, `2d` and `3d` in one."""

    def _check_input_dim(self, input: torch.Tensor) -> None:  # noqa: A002, torch's word
        check_shape(input, self.num_features)

    @property
    def by_batch(self) -> bool:
        """Whether this mode normalizes with the batch's own statistics."""
        return self.training or self.running_mean is None

    def updated(self) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """The running statistics that a batch is to move, if it is to move any."""
        moving = self.training and self.track_running_stats
        return (self.running_mean, self.running_var) if moving else (None, None)

    def count_batch(self) -> float:
        """One more batch is tracked; the weight that it gets. With `momentum=None` that is 1 / (batches so far)."""
        if not (
            self.training and self.track_running_stats and self.num_batches_tracked is not None
        ):
            return self.momentum or 0.0
        self.num_batches_tracked.add_(1)
        if self.momentum is None:
            return 1.0 / float(self.num_batches_tracked)
        return self.momentum


def check_shape(x: torch.Tensor, channels: int) -> None:
    """Raise ValueError unless `x` is (N, C) or (N, C, *) with C channels."""
    if x.ndim < 2 or x.shape[1] != channels:
        raise ValueError(
            f"expected an input of shape (N, {channels}) or (N, {channels}, *), got {tuple(x.shape)}"
        )


def check_values(x: torch.Tensor) -> None:
    """Raise ValueError for one value per channel, whose variance is 0: the output would not depend on it."""
    if x.numel() == x.shape[1]:
        raise ValueError(
            f"Expected more than 1 value per channel when training, got input size {tuple(x.shape)}"
        )


def along_channels(values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """`values` of shape (C,), seen as (1, C, 1, …), so that they broadcast over `x` of shape (N, C, *)."""
    return values.view(1, -1, *[1] * (x.ndim - 2))
