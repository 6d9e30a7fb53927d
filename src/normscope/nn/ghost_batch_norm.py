# pyright: basic
"""Batch normalization with the statistics of parts of the batch."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from normscope.nn.layer import BatchNormLayer, check_values


class GhostBatchNorm(BatchNormLayer):
    """Batch norm that in training normalizes each of k "ghost batches" of about `ghost_size` samples with its own statistics.

    Keeps, at a large batch, the noise of small-batch statistics that regularizes. Hoffer et al. 2017, section 4,
    https://arxiv.org/abs/1705.08741. In evaluation it is batch norm.

    **Ghosts.** k = max(1, N // ghost_size), of N // k samples or one more: none has fewer than `ghost_size` unless the whole
    batch has, and then it is one ghost. So a ragged last batch loses no sample and raises nothing. Which samples share
    a ghost depends on the layout: every k-th, or (channels last, where that would mean copying) neighbours.

    **Running statistics** move once a batch, by `momentum`, towards the mean of the ghosts' means and of their unbiased
    variances, the same window in batches as batch norm has. The paper moves them once a *ghost*, which weighs a batch by
    1 − (1−α)^k in all; `normscope.statistics.momentum_for_batch(α, k)` is the momentum that gives that window.

    The ghosts become channels, and PyTorch's kernel does all the work in one call (in two where
    k does not divide N; channels last: in one for each ghost).

    Args:
        num_features: C, of an input (N, C) or (N, C, *).
        ghost_size: samples whose statistics are taken together; 16 to 64 are usual.

    One value per channel and ghost raises ValueError.
    """

    def __init__(
        self,
        num_features: int,
        ghost_size: int = 32,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if ghost_size < 1:
            raise ValueError(f"ghost_size must be at least 1 sample, got {ghost_size}")
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device=device, dtype=dtype
        )
        self.ghost_size = ghost_size

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        ghosts = max(1, len(input) // self.ghost_size) if input.ndim else 1
        if ghosts == 1 or not self.by_batch:
            return super().forward(input)
        self._check_input_dim(input)
        check_values(input[: len(input) // ghosts])
        momentum = self.count_batch()
        running = self.updated()
        outputs: list[Tensor] = []
        moved: list[tuple[Tensor, Tensor]] = []
        for part, count in _parts(input, ghosts):
            mean, var, weight, bias = (
                None if t is None else t.repeat(count) for t in (*running, self.weight, self.bias)
            )
            size = len(part) // count
            as_channels = part.reshape(size, count * self.num_features, *part.shape[2:])
            if (
                outputs
            ):  # the same function below the wrappers of observers: one batch is one call to them
                cudnn = torch.backends.cudnn.enabled
                y = torch.batch_norm(
                    as_channels, weight, bias, mean, var, True, momentum, self.eps, cudnn
                )
            else:
                y = F.batch_norm(as_channels, mean, var, weight, bias, True, momentum, self.eps)
            outputs.append(y.reshape(part.shape))
            if mean is not None and var is not None:
                moved.append((mean, var))
        for target, parts in zip(running, zip(*moved, strict=True), strict=bool(moved)):
            if target is not None:
                target.copy_(torch.cat(parts).view(ghosts, -1).mean(0))
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, ghost_size={self.ghost_size}, "
            + super().extra_repr().partition(", ")[2]
        )


def _parts(x: Tensor, ghosts: int) -> list[tuple[Tensor, int]]:
    """Parts of the batch, each with the number of ghosts of equal size that it holds."""
    size, larger = divmod(len(x), ghosts)
    if (
        not x.is_contiguous()
    ):  # such as channels last: samples and channels do not merge without a copy
        sizes = [size + 1] * larger + [size] * (ghosts - larger)
        return [(part, 1) for part in x.split(sizes)]
    if not larger:
        return [(x, ghosts)]
    cut = larger * (size + 1)
    return [(x[:cut], larger), (x[cut:], ghosts - larger)]
