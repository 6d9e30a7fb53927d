# pyright: basic
"""Batch renormalization: batch statistics, corrected towards the running ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from normscope.nn.layer import BatchNormLayer, check_values


class BatchRenorm(BatchNormLayer):
    """Batch norm whose training output is corrected to what evaluation would give. Ioffe 2017, https://arxiv.org/abs/1702.03275.

    With the batch's μ_B, σ_B and the running μ, σ (before this batch moves them; σ² = `running_var` + ε), section 3:

        y = γ ((x − μ_B)/σ_B · r + d) + β        r = σ_B/σ in [1/r_max, r_max]        d = (μ_B − μ)/σ in [−d_max, d_max]

    No gradient passes through r and d. Within the bounds y is what evaluation computes; at r_max = 1, d_max = 0 it is batch
    norm. Both bounds are relaxed over the steps as in the paper: batch norm for `warmup` batches, then linearly
    to `r_max` at `r_steps` and to `d_max` at `d_steps`. The step is `num_batches_tracked`: it is in every state dict of a batch norm, so a layer
    that takes over trained statistics starts relaxed, and resetting the statistics starts over.

    **Variance, not deviation, is averaged,** unlike in the paper, so that buffers, checkpoints, evaluation and
    recalibration are batch norm's own. And it is the unbiased one, as always in PyTorch: the correction then also takes the
    factor √((n−1)/n) between training and evaluation away. √(mean of σ_B²) exceeds the mean of σ_B by a
    share of about (κ−1)/(8n) for kurtosis κ: 3 % at n = 8, which r undoes like any other difference.

    r and d are folded into weight and bias and the statistics are taken once, so that PyTorch's kernels do the work.

    Args:
        num_features: C, of an input (N, C) or (N, C, *).
        momentum: the paper's 0.01 by default; None for a cumulative average.
        r_max, d_max: final bounds; the paper's by default.
        warmup, r_steps, d_steps: the schedule, in training batches; the paper's by default, for runs of 100 000 steps and more.

    Without running statistics there is nothing to correct to: `track_running_stats=False` raises ValueError.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.01,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        r_max: float = 3.0,
        d_max: float = 5.0,
        warmup: int = 5_000,
        r_steps: int = 40_000,
        d_steps: int = 25_000,
    ) -> None:
        if not track_running_stats:
            raise ValueError(
                "track_running_stats=False was given, but renormalization corrects towards the running statistics; leave it out"
            )
        if not (r_max >= 1 and d_max >= 0):
            raise ValueError(f"expected r_max ≥ 1 and d_max ≥ 0, got {r_max:g} and {d_max:g}")
        if not 0 <= warmup <= min(r_steps, d_steps):
            raise ValueError(
                f"expected 0 ≤ warmup ≤ r_steps and d_steps, got {warmup}, {r_steps} and {d_steps}"
            )
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device=device, dtype=dtype
        )
        self.r_max, self.d_max = r_max, d_max
        self.warmup, self.r_steps, self.d_steps = warmup, r_steps, d_steps

    def bounds(self) -> tuple[Tensor, Tensor]:
        """r_max and d_max for the next batch, as tensors on the layer's device: no step waits for it."""
        step = self.num_batches_tracked
        assert step is not None
        r = (step - self.warmup) / max(1, self.r_steps - self.warmup)
        d = (step - self.warmup) / max(1, self.d_steps - self.warmup)
        return 1 + (self.r_max - 1) * r.clamp(0, 1), self.d_max * d.clamp(0, 1)

    @contextmanager
    def uncorrected(self) -> Iterator[None]:
        """Within the block it is batch norm, as to estimate statistics that corrections have no part in."""
        kept = self.r_max, self.d_max
        self.r_max, self.d_max = 1.0, 0.0
        try:
            yield
        finally:
            self.r_max, self.d_max = kept

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        if not (self.by_batch and input.numel()):
            return super().forward(input)
        self._check_input_dim(input)
        bounds = self.bounds()
        momentum = self.count_batch()
        return batch_renorm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            True,
            momentum,
            self.eps,
            bounds,
            self.track_running_stats,
        )

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, r_max={self.r_max}, d_max={self.d_max}"


def batch_renorm(
    input: Tensor,  # noqa: A002
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,  # noqa: ARG001, always True; the words of `F.batch_norm`, so that observers of that can listen here
    momentum: float,
    eps: float,
    bounds: tuple[Tensor, Tensor],
    update: bool,
) -> Tensor:
    """Normalize with the batch's statistics corrected towards the running ones, then move those in place."""
    assert running_mean is not None
    assert running_var is not None
    check_values(input)
    with torch.no_grad():
        mean, var = _moments(input)
        r_max, d_max = (b.to(var.dtype) for b in bounds)
        sigma = torch.sqrt(running_var.to(var.dtype) + eps)
        r = torch.clamp(torch.sqrt(var + eps) / sigma, 1 / r_max, r_max)
        d = torch.clamp((mean - running_mean) / sigma, -d_max, d_max)
        if update:
            n = input.numel() // input.shape[1]
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((var * (n / (n - 1))).to(running_var.dtype), momentum)
    scale = r if weight is None else weight * r
    shift = d if weight is None else weight * d
    if bias is not None:
        shift = shift + bias
    return _WithStatistics.apply(input, scale, shift, mean, var, eps)


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel, in float32 at least."""
    if (
        x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and not torch.compiler.is_compiling()
    ):
        mean, var = torch.batch_norm_update_stats(
            x, None, None, 0.0
        )  # a reduction made for this, several times as fast
        return mean, var
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    var, mean = torch.var_mean(wide, [d for d in range(x.ndim) if d != 1], correction=0)
    return mean, var


class _WithStatistics(torch.autograd.Function):
    """Batch norm of x by its own statistics, which were taken before: PyTorch's kernel that maps in forward, and in backward the one
    that knows that mean and variance depend on x."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, var: Tensor, eps: float
    ) -> Tensor:
        ctx.save_for_backward(x, scale, mean, torch.rsqrt(var + eps))
        ctx.eps = eps
        return torch.native_batch_norm(x, scale, shift, mean, var, False, 0.0, eps)[0]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, mean, inverse = ctx.saved_tensors
        wanted = list(ctx.needs_input_grad[:3])
        d_x, d_scale, d_shift = torch.ops.aten.native_batch_norm_backward(
            grad, x, scale, None, None, mean, inverse, True, ctx.eps, wanted
        )
        return d_x, d_scale, d_shift, None, None, None
