# pyright: basic
"""Moments of a batch norm's inputs at no cost per value: the layer writes what it computes anyway into rows of its own."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.probes.population import Moments
from normscope.repairs.recalibration.listening import Listener, TooFewValuesError

ROWS = 32  # calls for which room is made at once
ENOUGH = 256  # calls between two poolings
ALIGNED = 64  # values: some kernels want aligned pointers


class Rows(Listener):
    """One layer, whose forward is replaced by the same operation with momentum 1 on a fresh row for each call."""

    def __init__(self, path: str, norm: _BatchNorm) -> None:
        super().__init__(path, norm)
        assert norm.running_mean is not None
        self.channels = norm.running_mean.numel()
        self.counts: list[int] = []  # values per channel of each call
        self._blocks: list[torch.Tensor] = []
        self._rows: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._committed = 0
        self._grow()

    def _grow(self) -> None:
        like = self.norm.running_mean
        assert like is not None
        width = -(-self.channels // ALIGNED) * ALIGNED
        block = torch.zeros(2, ROWS, width, dtype=like.dtype, device=like.device)
        block = block[:, :, : self.channels]
        self._blocks.append(block)
        self._rows += zip(*(part.unbind() for part in block.unbind()), strict=True)

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
                self._grow()
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

    def commit(self) -> bool:
        self._committed = len(self.counts)
        return self._committed >= ENOUGH

    def take_back(self) -> None:
        for row in self._rows[self._committed : len(self.counts)]:
            for part in row:
                part.zero_()  # momentum 1 multiplies what stands there by 0, and 0 · NaN is NaN
        del self.counts[self._committed :]

    def kind(self) -> tuple[str, str, list[int]]:
        """What is the same for layers that can be pooled at once."""
        block = self._blocks[0]
        return str(block.device), str(block.dtype), self.counts

    def taken(self) -> torch.Tensor:
        """Means and unbiased variances of the committed calls, (2, calls, channels), which no longer wait."""
        blocks = self._blocks[: -(-self._committed // ROWS)]
        block = blocks[0] if len(blocks) == 1 else torch.cat(blocks, 1)
        block = block[:, : self._committed]
        self.calls += self._committed
        self.counts.clear()
        self._committed = 0
        return block


def pool(layers: Iterable[Rows]) -> None:
    """Pool the committed calls in float64 (Chan, Golub & LeVeque 1979), at once for layers whose calls had as many values each."""
    waiting = sorted((x for x in layers if x.counts), key=Rows.kind)
    for (_, _, counts), alike in groupby(waiting, key=Rows.kind):
        _pool_alike([*counts], [*alike])


def _pool_alike(values: list[int], layers: list[Rows]) -> None:
    block = torch.cat([x.taken() for x in layers], 2)
    # mps has no float64
    means, variances = block.cpu().double() if block.device.type == "mps" else block.double()
    counts = torch.tensor(values, dtype=torch.float64, device=means.device)
    whole = sum(values)
    mean = counts @ means / whole
    # What is stored is the unbiased variance, squares / (count - 1).
    squares = (counts - 1) @ variances + counts @ (means - mean).square()
    sizes = [x.channels for x in layers]
    for layer, m, s in zip(layers, mean.split(sizes), squares.split(sizes), strict=True):
        layer.pool(Moments(whole, m, s))
