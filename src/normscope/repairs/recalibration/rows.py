# pyright: basic
"""Moments of a batch norm's inputs at no cost per value: the layer writes what it computes anyway into rows of its own."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.probes.population import Moments
from normscope.repairs.recalibration.listening import Listener, TooFewValuesError

ROWS = 32  # calls for which room is made at once, and after which they are pooled: the same memory serves again and again
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
        self._place = (str(norm.running_mean.device), str(norm.running_mean.dtype))
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
        return self._committed >= ROWS

    def take_back(self) -> None:
        for row in self._rows[self._committed : len(self.counts)]:
            for part in row:
                part.zero_()  # momentum 1 multiplies what stands there by 0, and 0 · NaN is NaN
        del self.counts[self._committed :]

    def kind(self) -> tuple[str, str, list[int]]:
        """What is the same for layers that can be pooled at once."""
        return *self._place, self.counts

    def taken(self) -> torch.Tensor:
        """Means and unbiased variances of the committed calls, (2, calls, channels), which no longer wait."""
        blocks = self._blocks[: -(-self._committed // ROWS)]
        block = blocks[0] if len(blocks) == 1 else torch.cat(blocks, 1)
        block = block[:, : self._committed]
        self.calls += self._committed
        self.counts.clear()
        self._committed = 0
        return block


class Pool:
    """Pools what the layers wrote. Those that were called alike lie side by side in one vector, so that a layer costs little."""

    def __init__(self, layers: Iterable[Rows]) -> None:
        self._layers = tuple(layers)
        self._found: dict[tuple[Rows, ...], Moments] = {}
        self._wide: dict[torch.device, torch.Tensor] = {}
        self._weights: tuple[list[int], torch.Tensor] | None = None

    @property
    def moments(self) -> list[Moments]:
        """Of all that was taken and not given yet, each of one or several layers."""
        return [*self._found.values()]

    def take(self) -> None:
        """Pool the committed calls; their rows are free again."""
        waiting = sorted((x for x in self._layers if x.counts), key=Rows.kind)
        for (_, _, counts), alike in groupby(waiting, key=Rows.kind):
            values, layers = [*counts], (*alike,)
            wide = self._widened([x.taken() for x in layers])
            here = _moments(self._weighted(values, wide.device), wide, sum(values))
            found = self._found.get(layers)
            self._found[layers] = here if found is None else found + here

    def give(self) -> None:
        """Hand each layer its part."""
        for layers, found in self._found.items():
            sizes = [x.channels for x in layers]
            parts = zip(layers, found.mean.split(sizes), found.squares.split(sizes), strict=True)
            for layer, mean, squares in parts:
                layer.pool(Moments(found.count, mean, squares))
        self._found.clear()

    def _weighted(self, values: list[int], device: torch.device) -> torch.Tensor:
        """The values as a tensor: mostly those of the last time, for batches are of one size."""
        last = self._weights
        if last is None or last[0] != values or last[1].device != device:
            last = values, torch.tensor(values, dtype=torch.float64, device=device)
            self._weights = last
        return last[1]

    def _widened(self, blocks: list[torch.Tensor]) -> torch.Tensor:
        """The blocks side by side in float64, in memory that serves again: fresh pages cost more than the arithmetic."""
        device = blocks[0].device
        if device.type == "mps":  # has no float64
            return torch.cat(blocks, 2).cpu().double()
        calls, channels = blocks[0].shape[1], sum(b.shape[2] for b in blocks)
        whole = self._wide.get(device)
        if whole is None or whole.shape[1] < calls or whole.shape[2] < channels:
            whole = torch.empty(2, max(ROWS, calls), channels, dtype=torch.float64, device=device)
            self._wide[device] = whole
        wide = whole[:, :calls, :channels]
        at = 0
        for block in blocks:
            wide[:, :, at : at + block.shape[2]] = block
            at += block.shape[2]
        return wide


def _moments(counts: torch.Tensor, wide: torch.Tensor, whole: int) -> Moments:
    """Of all calls (Chan, Golub & LeVeque 1979); `counts` values per channel and call, of which `wide` has means and variances."""
    means, variances = wide
    mean = counts @ means / whole
    # What is stored is the unbiased variance, squares / (count - 1).
    return Moments(whole, mean, (counts - 1) @ variances + counts @ means.sub_(mean).square_())
