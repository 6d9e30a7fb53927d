# pyright: basic
"""The samples of kept batches of a Keras model: cut into batches anew, put into other batches, exchanged between two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from keras.src import tree

from normscope.errors import NormscopeError
from normscope.record.keras.batches import Kept


class Pool:
    """All samples of some batches in their order. Raises NormscopeError where batches do not have one row for each sample."""

    def __init__(self, batches: Sequence[Kept]) -> None:
        if not batches:
            raise NormscopeError("there is no batch to cut")
        self.samples = sum(b.samples for b in batches)
        self._like = batches[0]
        parts = [(b.args, b.kwargs, b.target) for b in batches]
        self._leaves = [
            _joined(list(values), [b.samples for b in batches])
            for values in zip(*(tree.flatten(p) for p in parts), strict=True)
        ]
        self._structure = parts[0]

    def take(self, which: torch.Tensor) -> Kept:
        """The samples with these numbers as one batch."""
        index = which.numpy()
        leaves = [
            x[index] if isinstance(x, np.ndarray) and len(x) == self.samples else x
            for x in self._leaves
        ]
        args, kwargs, target = tree.pack_sequence_as(self._structure, leaves)
        return replace(self._like, args=args, kwargs=kwargs, target=target, samples=len(index))


def _joined(values: list[Any], counts: list[int]) -> Any:
    first = values[0]
    if not isinstance(first, np.ndarray):
        return first
    if all(x.ndim and len(x) == n for x, n in zip(values, counts, strict=True)):
        shapes = sorted({x.shape[1:] for x in values})
        if len(shapes) > 1:
            raise NormscopeError(
                f"the samples have different shapes, {shapes[0]} and {shapes[1]}, so that no batches can be cut anew"
            )
        return np.concatenate(values)
    if all(np.array_equal(x, first) for x in values):
        return first
    raise NormscopeError("an input has neither one row for each sample nor the same values always")


def shuffled(
    batches: Sequence[Kept], sizes: Sequence[int], seed: int
) -> tuple[list[Kept], torch.Tensor]:
    """The same samples in random order, in batches of these sizes; and the number of each sample, in that order."""
    pool = Pool(batches)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(pool.samples, generator=generator)[: sum(sizes)]
    return [pool.take(index) for index in order.split(list(sizes))], order


def exchanged(first: Kept, second: Kept, stay: int) -> Kept:
    """The batch `first` with all samples but the first `stay` replaced by those of `second`, which is of the same size."""

    def mix(p: Any, q: Any) -> Any:
        fits = isinstance(p, np.ndarray) and isinstance(q, np.ndarray) and p.shape == q.shape
        rows = fits and p.ndim and len(p) == first.samples
        return np.concatenate([p[:stay], q[stay:]]) if rows else p

    return replace(
        first,
        args=tree.map_structure(mix, first.args, second.args),
        kwargs=tree.map_structure(mix, first.kwargs, second.kwargs),
    )
