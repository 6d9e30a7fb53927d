# pyright: basic
"""Moments of a batch norm's inputs at no cost per value: the layer writes what it computes anyway into rows of its own."""

from __future__ import annotations

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.repairs.recalibration.listening import Listener, TooFewValuesError

ROWS = 32  # calls for which room is made at once, and after which they are pooled: the same memory serves again and again
ALIGNED = 64  # values: some kernels want aligned pointers


class Arena:
    """Room for the rows of several layers, side by side, so that one operation reads those of all: (2, calls, channels)."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self._device, self._dtype = device, dtype
        self._width = 0
        self._blocks: list[torch.Tensor] = []

    def reserve(self, channels: int) -> slice:
        """The columns of one more layer. To be called before any room is made."""
        start = self._width
        self._width += -(-channels // ALIGNED) * ALIGNED
        return slice(start, start + channels)

    def rows(self, block: int, columns: slice) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Room for the mean and the variance of each of `ROWS` calls, those from `ROWS · block` on."""
        while len(self._blocks) <= block:
            made = torch.zeros(2, ROWS, self._width, dtype=self._dtype, device=self._device)
            self._blocks.append(made)
        mean, var = self._blocks[block][:, :, columns].unbind()
        return [*zip(mean.unbind(), var.unbind(), strict=True)]

    def written(self, calls: int, columns: slice) -> list[torch.Tensor]:
        """Where means and unbiased variances of the first calls stand, (2, at most `ROWS`, columns) each."""
        return [
            block[:, : calls - ROWS * i, columns]
            for i, block in enumerate(self._blocks[: -(-calls // ROWS)])
        ]


class Rows(Listener):
    """One layer, whose forward is replaced by the same operation with momentum 1 on a fresh row for each call."""

    def __init__(self, path: str, norm: _BatchNorm, arena: Arena) -> None:
        super().__init__(path, norm)
        assert norm.running_mean is not None
        self.channels = norm.running_mean.numel()
        self.arena, self.columns = arena, arena.reserve(self.channels)
        self.counts: list[int] = []  # values per channel of each call
        self.committed = 0  # of the calls
        self._rows: list[tuple[torch.Tensor, torch.Tensor]] = []

    def attach(self) -> None:
        norm, channels, counts, rows = self.norm, self.channels, self.counts, self._rows
        batch_norm, cudnn = torch.batch_norm, torch.backends.cudnn.enabled
        own = norm._parameters  # a module's attributes are slow to look up
        there = "weight" in own and "bias" in own  # else something stands in their place

        def forward(input: torch.Tensor) -> torch.Tensor:  # noqa: A002, its name in the module's own
            count = input.numel() // channels
            if count < 2:
                raise TooFewValuesError(self.path)
            at = len(counts)
            if at == len(rows):
                rows.extend(self.arena.rows(at // ROWS, self.columns))
            mean, var = rows[at]
            counts.append(count)
            weight = own["weight"] if there else norm.weight
            bias = own["bias"] if there else norm.bias
            return batch_norm(input, weight, bias, mean, var, True, 1.0, norm.eps, cudnn)

        vars(norm)["forward"] = forward

    def detach(self) -> None:
        vars(self.norm).pop("forward", None)

    def waiting(self) -> int:
        return len(self.counts)

    def take_back(self) -> None:
        for row in self._rows[self.committed : len(self.counts)]:
            for part in row:
                part.zero_()  # momentum 1 multiplies what stands there by 0, and 0 · NaN is NaN
        del self.counts[self.committed :]

    def taken(self) -> None:
        """The committed calls were read, and wait no longer."""
        self.calls += self.committed
        self.counts.clear()
        self.committed = 0
