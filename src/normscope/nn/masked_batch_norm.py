# pyright: basic
"""Batch normalization whose statistics leave padding out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from normscope.nn import batch_norm as reference
from normscope.nn.layer import BatchNormLayer


class MaskedBatchNorm(BatchNormLayer):
    """Batch norm over the values that a mask marks as real: `norm(x, mask)`.

    Sequences that are padded to one length put zeros into every batch statistic, more in some batches than in others
    (https://github.com/pytorch/pytorch/issues/70529). Here mean and variance are of the real values
    alone, and the running statistics too. Without a mask, or with one that is True everywhere, it is batch norm.

    `mask` is boolean, True for real values, of shape (N, *) or (N, 1, *) for an input (N, C, *).
    The output is 0 where the mask is False, in both modes, whatever the input holds there, and no gradient flows from there.

    A batch without one real value gives zeros and leaves the running statistics alone. So does one real value, except that
    its output is β; only a shape that has one value per channel raises ValueError, because looking into
    the mask would make the device wait. To evaluate, the mask merely clears the padding.

    Computed by formulas (`normscope.nn.batch_norm`), not by PyTorch's kernel: gathering the real values for
    that has a size known only to the device.
    """

    def forward(self, input: Tensor, mask: Tensor | None = None) -> Tensor:  # noqa: A002
        if mask is None:
            return super().forward(input)
        self._check_input_dim(input)
        mask = _aligned(mask, input)
        if self.by_batch:
            mean, var = self.updated()
            momentum = self._count(mask)
            return reference.batch_norm(
                input, mean, var, self.weight, self.bias, True, momentum, self.eps, mask
            )
        # Before and after: NaN in the padding must reach neither the gradient nor the output.
        y = F.batch_norm(
            torch.where(mask, input, 0),
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            eps=self.eps,
        )
        return torch.where(mask, y, 0)

    def real(self, input: Tensor, mask: Tensor | None = None) -> Tensor:  # noqa: A002
        """The values that the statistics are of, for one call: shape (values, C)."""
        values = input.movedim(1, -1)
        if mask is None:
            return values.flatten(0, -2)
        where = _aligned(mask, input).squeeze(1).expand(values.shape[:-1])
        return values[where]

    def _count(self, mask: Tensor) -> float:
        tracked = self.num_batches_tracked
        if self.training and self.track_running_stats and tracked is not None:
            tracked.add_((mask.sum() > 1).to(tracked.dtype))
            if self.momentum is None:
                return 1.0 / max(1.0, float(tracked))
        return self.momentum or 0.0


def _aligned(mask: Tensor, x: Tensor) -> Tensor:
    """The mask in a shape that broadcasts to (N, 1, *)."""
    if mask.dtype is not torch.bool:
        raise ValueError(
            f"expected a boolean mask, True for real values, got {mask.dtype}: `mask.bool()`"
        )
    wide = (x.shape[0], 1, *x.shape[2:])
    if mask.shape == (x.shape[0], *x.shape[2:]):
        return mask.unsqueeze(1)
    if mask.shape == wide:
        return mask
    raise ValueError(
        f"expected a mask of shape {(x.shape[0], *x.shape[2:])} or {wide}, got {tuple(mask.shape)}"
    )
