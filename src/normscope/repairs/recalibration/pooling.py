# pyright: basic
"""Moments of all calls of all layers, from the rows that they wrote."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

import torch

from normscope.probes.population import Moments
from normscope.repairs.recalibration.rows import ROWS, Rows


class Pool:
    """Pools what the layers wrote: neighbours in an arena that were called alike in one go, so that a layer costs little."""

    def __init__(self, layers: Iterable[Rows]) -> None:
        self._layers = sorted(layers, key=lambda x: id(x.arena))  # in each arena in their order
        self._sums: dict[tuple[Rows, ...], _Sums] = {}

    def commit(self) -> None:
        """The batch counts; where a layer has no more room for another one, its calls are pooled."""
        full = False
        for layer in self._layers:
            layer.committed = calls = len(layer.counts)
            full |= calls >= ROWS
        if full:
            self.take()

    def take(self) -> None:
        """Pool the committed calls; their rows are free again."""
        for (_, values), alike in groupby(self._layers, key=lambda x: (x.arena, [*x.counts])):
            if not values:
                continue
            layers = (*alike,)
            if layers not in self._sums:
                self._sums[layers] = _Sums(layers)
            self._sums[layers].add(values)
            for layer in layers:
                layer.taken()

    def give(self) -> None:
        """Hand each layer its part."""
        for sums in self._sums.values():
            sums.give()
        self._sums.clear()

    def checks(self) -> list[torch.Tensor]:
        """Values that are finite where everything is that was taken and not given yet."""
        return [s.check() for s in self._sums.values()]


class _Sums:
    """Weighted sums over calls, of layers that lie side by side: few operations, each over all their channels, in float64.

    Of n_i values each, with means m_i and unbiased variances v_i, about the mean s of the first call:
    `first` = Σ n_i (m_i − s), `second` = Σ n_i (m_i − s)² + (n_i − 1) v_i. As s is itself one of the means,
    second ≥ first²/n · N/(N − n_1): the squares about the mean, second − first²/N, lose a factor N/n_1 of float64's
    digits at most.
    """

    def __init__(self, layers: Sequence[Rows]) -> None:
        self._layers = layers
        self._columns = slice(layers[0].columns.start, layers[-1].columns.stop)
        self._values: list[int] = []  # of the last time, and what was made for as many
        self._count = 0

    def add(self, values: list[int]) -> None:
        if values != self._values:
            self._make_room(values)
        for part, written in self._parts:
            part.copy_(written.cpu() if self._without_float64 else written)
        if not self._count:
            self._about = self._means[0].clone()
            self._first = torch.zeros_like(self._about)
            self._second = torch.zeros_like(self._about)
        self._means.sub_(self._about)
        self._first.addmv_(self._by_channel, self._weights)
        self._means.square_()
        self._second.addmv_(self._both_by_channel, self._both_weights)
        self._count += sum(values)

    def _make_room(self, values: list[int]) -> None:
        """In memory that serves again: batches are mostly of one size, and fresh pages cost more than the arithmetic."""
        calls = len(values)
        rows = self._layers[0].arena.written(calls, self._columns)
        self._without_float64 = rows[0].device.type == "mps"
        device = torch.device("cpu") if self._without_float64 else rows[0].device
        size = (2, calls, rows[0].shape[2])
        wide = torch.empty(size, dtype=torch.float64, device=device)
        self._parts = [*zip(wide.split([r.shape[1] for r in rows], 1), rows, strict=True)]
        self._means = wide[0]
        self._by_channel, self._both_by_channel = self._means.T, wide.flatten(0, 1).T
        weights = [*values, *(n - 1 for n in values)]
        self._both_weights = torch.tensor(weights, dtype=torch.float64, device=device)
        self._weights = self._both_weights[:calls]
        self._values = values

    def check(self) -> torch.Tensor:
        return self._first + self._second

    def give(self) -> None:
        off = self._first / self._count
        mean, squares = self._about + off, self._second - off * self._first
        start = self._columns.start
        for layer in self._layers:
            own = slice(layer.columns.start - start, layer.columns.stop - start)
            layer.pool(Moments(self._count, mean[own], squares[own]))
