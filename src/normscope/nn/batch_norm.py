# pyright: basic
"""Batch normalization as its paper states it, forward and backward by hand: a reference to read and to test against.

Ioffe & Szegedy 2015, section 3, https://arxiv.org/abs/1502.03167. For speed take `torch.nn.BatchNorm2d`.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from normscope.nn.layer import BatchNormLayer, along_channels, check_values


class BatchNorm(BatchNormLayer):
    """Batch normalization over inputs (N, C) or (N, C, *), as `torch.nn.BatchNorm1d`, `2d` and `3d`.

    In training, per channel, over the n = N·(positions) values x₁ … xₙ:

        μ = Σ xᵢ / n        σ² = Σ (xᵢ − μ)² / n        x̂ᵢ = (xᵢ − μ) / √(σ² + ε)        yᵢ = γ x̂ᵢ + β

    and the running statistics move by `momentum` α (the weight of the new batch; with None all batches weigh alike):

        running_mean ← (1−α)·running_mean + α·μ        running_var ← (1−α)·running_var + α·σ²·n/(n−1)

    The factor n/(n−1) is Bessel's: training divides by the biased variance, evaluation by the unbiased one. In
    evaluation μ and σ² are the running ones. The parameters are those of `torch.nn.BatchNorm2d`.
    One value per channel in training raises ValueError.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002, torch's word
        self._check_input_dim(input)
        momentum = self.count_batch()
        if self.by_batch:
            mean, var = self.updated()
            return batch_norm(
                input, mean, var, self.weight, self.bias, True, momentum, self.eps, None
            )
        # With fixed statistics there is nothing to show: a scale and a shift for each channel.
        return F.batch_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )


def batch_norm(
    input: Tensor,  # noqa: A002
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,  # noqa: ARG001, always True; the words of `F.batch_norm`, so that observers of that can listen here
    momentum: float,
    eps: float,
    mask: Tensor | None = None,
) -> Tensor:
    """Normalize with the batch's own statistics and move the running ones, in place, where they are given.

    `mask` is True where a value counts, of a shape that broadcasts to (N, 1, *). Raises ValueError for one value per channel.
    """
    check_values(input)
    if mask is not None:
        # `where` and not a product: padding may hold anything, NaN included. Its derivative clears that of the padding.
        input = torch.where(mask, input, 0)  # noqa: A001
    y, mean, var, count = Normalization.apply(input, weight, bias, mask, eps)
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            # One value has no variance to learn from, and no value at all has no mean either.
            alpha = momentum * (count > 1).to(mean.dtype)
            unbiased = var * (count / (count - 1).clamp(min=1))
            for running, new in ((running_mean, mean), (running_var, unbiased)):
                running.copy_((1 - alpha) * running + alpha * new)
    return y if mask is None else torch.where(mask, y, 0)


class Normalization(torch.autograd.Function):
    """y = γ x̂ + β with the batch's own μ and σ, and its derivatives.

    **Backward.** Let gᵢ = ∂L/∂yᵢ and s = 1/√(σ² + ε). From y = γ x̂ + β directly

        ∂L/∂β = Σ gᵢ        ∂L/∂γ = Σ gᵢ x̂ᵢ        ∂L/∂x̂ᵢ = γ gᵢ

    Every x̂ᵢ depends on every xⱼ, through xᵢ itself, through μ and through σ². With ∂μ/∂xⱼ = 1/n, and
    ∂σ²/∂xⱼ = 2 (xⱼ − μ)/n (the part through μ vanishes, because Σ (xᵢ − μ) = 0), and ∂s/∂σ² = −s³/2:

        ∂x̂ᵢ/∂xⱼ = s·[i=j] − s/n − (xᵢ − μ)·s³·(xⱼ − μ)/n = s·([i=j] − 1/n − x̂ᵢ x̂ⱼ/n)

    and so, the paper's three equations in one,

        ∂L/∂xⱼ = γ s (gⱼ − Σ gᵢ/n − x̂ⱼ · Σ gᵢ x̂ᵢ/n) = γ s (gⱼ − ∂L/∂β / n − x̂ⱼ · ∂L/∂γ / n)

    which is g less its projections on the constant vector and on x̂: a step along it changes neither the mean nor,
    up to ε, the scale of the batch.

    **With a mask** n and the sums over x are of the values that count. No gradient gᵢ may arrive at any other, and what these get is void.

    **Second derivatives.** The formulas are themselves differentiable, as long as μ and s are functions of x in them: where a graph of
    the backward pass is wanted they are computed anew from x.

    Sums are taken in float32 at least. Saved for backward are x, μ, s and γ.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mask: Tensor | None,
        eps: float,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        mean, var, count = moments(x, mask)
        y = normalized(x, weight, bias, mean, var, eps)
        ctx.save_for_backward(x, weight, mask, mean, torch.rsqrt(var + eps), count)
        ctx.eps = eps
        ctx.bias_dtype = None if bias is None else bias.dtype
        ctx.mark_non_differentiable(mean, var, count)
        return y, mean, var, count

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        x, weight, mask, mean, s, count = ctx.saved_tensors
        if torch.is_grad_enabled():  # a graph of this very computation is wanted
            mean, var, count = moments(x, mask)
            s = torch.rsqrt(var + ctx.eps)
        g, values = grad.to(mean.dtype), x.to(mean.dtype)
        x_hat = (values - along_channels(mean, x)) * along_channels(s, x)
        over = [d for d in range(x.ndim) if d != 1]
        d_beta, d_gamma = g.sum(over), (g * x_hat).sum(over)
        d_x = None
        if ctx.needs_input_grad[0]:
            n = count.clamp(min=1)
            projected = along_channels(d_beta / n, x) + x_hat * along_channels(d_gamma / n, x)
            scale = s if weight is None else s * weight.to(s.dtype)
            d_x = (along_channels(scale, x) * (g - projected)).to(x.dtype)
        return (
            d_x,
            None if weight is None else d_gamma.to(weight.dtype),
            None if ctx.bias_dtype is None else d_beta.to(ctx.bias_dtype),
            None,
            None,
        )


def moments(x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased variance of each channel of (N, C, *), and how many values they are of; 0 and 0 of none."""
    values = x.to(torch.promote_types(x.dtype, torch.float32))
    over = [d for d in range(x.ndim) if d != 1]
    if not x.numel():
        return values.sum(over), values.sum(over), values.sum()
    if mask is None:
        var, mean = torch.var_mean(values, over, correction=0)
        return mean, var, torch.full((), x.numel() // x.shape[1], dtype=mean.dtype, device=x.device)
    count = mask.expand(x.shape[0], 1, *x.shape[2:]).sum().to(values.dtype)
    least = count.clamp(min=1)
    mean = torch.where(mask, values, 0).sum(over) / least
    apart = torch.where(mask, values - along_channels(mean, x), 0)
    return mean, apart.square().sum(over) / least, count


@torch.library.custom_op(
    "normscope::batch_norm",
    mutates_args=(),
    schema="(Tensor input, Tensor? weight, Tensor? bias, Tensor running_mean, Tensor running_var, float eps) -> Tensor",
)
def normalized(
    input: Tensor,  # noqa: A002
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor,
    running_var: Tensor,
    eps: float,
) -> Tensor:
    """γ (x − μ)/√(σ² + ε) + β for given statistics. One operation, so that a graph shows it as one."""
    x = input.to(running_mean.dtype)
    scale = torch.rsqrt(running_var + eps)
    if weight is not None:
        scale = scale * weight.to(scale.dtype)
    y = (x - along_channels(running_mean, x)).mul_(along_channels(scale, x))
    if bias is not None:
        y += along_channels(bias.to(y.dtype), x)
    return y.to(input.dtype)


@normalized.register_fake
def _(input: Tensor, *_: object) -> Tensor:  # noqa: A002
    return torch.empty_like(input)
