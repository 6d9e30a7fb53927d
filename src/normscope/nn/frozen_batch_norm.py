# pyright: basic
"""Batch normalization whose statistics stay as they are, whatever mode the model is in."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase

from normscope.nn.layer import along_channels, check_shape


class FrozenBatchNorm(_NormBase):
    """Batch norm with fixed statistics: y = γ (x − μ)/√(σ² + ε) + β = scale · x + shift, in training and in evaluation.

    For fine-tuning on batches too small for statistics of their own: `.eval()` on a batch norm is undone by the next
    `.train()`; this has no mode. With large batches freezing does worse than batch norm (Wu & Johnson 2021,
    https://arxiv.org/abs/2105.07576).

    μ, σ², γ, β and `num_batches_tracked` have the names that `torch.nn.BatchNorm2d` gives them, so state dicts pass both
    ways. γ and β are parameters, not buffers: as buffers they would be lost to whoever loads only parameters, and
    could not be thawed. They do not learn unless `trainable_affine` says so.

    It is no `_BatchNorm`: what resets, refreshes or synchronizes batch statistics (`update_bn`,
    `convert_sync_batchnorm`) must leave it alone. Where nothing but x wants a gradient, nothing of x's size is
    saved for backward: ∂L/∂x = scale · ∂L/∂y.

    Args:
        num_features: C, of an input (N, C) or (N, C, *).
        momentum: kept for whoever thaws the layer; without effect here.
        trainable_affine: whether γ and β learn.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        trainable_affine: bool = False,
    ) -> None:
        if not track_running_stats:
            raise ValueError(
                "track_running_stats=False was given, but frozen statistics are the running ones; leave it out"
            )
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device=device, dtype=dtype
        )
        for parameter in self.parameters():
            parameter.requires_grad_(trainable_affine)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        check_shape(input, self.num_features)
        learns = any(p.requires_grad for p in self.parameters())
        if learns or not (torch.is_grad_enabled() and input.requires_grad):
            return F.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return _FixedMap.apply(
            input, self.running_mean, self.running_var, self.weight, self.bias, self.eps
        )


class _FixedMap(torch.autograd.Function):
    """scale · x + shift by PyTorch's kernel; of all its arguments only x has a derivative, which is the scale."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        mean: Tensor,
        var: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
    ) -> Tensor:
        scale = torch.rsqrt(var + eps)
        ctx.save_for_backward(scale if weight is None else scale * weight)
        return F.batch_norm(x, mean, var, weight, bias, eps=eps)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (scale,) = ctx.saved_tensors
        return ((grad * along_channels(scale, grad)).to(grad.dtype), *[None] * 5)
