# pyright: basic
"""Kept batches: a bounded host copy of what training forwards were given, and of the targets that their losses read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras.src import backend as keras_backend
from keras.src import tree
from numpy.typing import NDArray

from normscope.record.keras.backends import Backend
from normscope.record.keras.registry import Root

SPACING = 32  # the next batch is kept after a step in so many
FEW = 30  # batches; below twenty the gap probe was seen to lose its power


@dataclass(slots=True)
class Kept:
    """The input of one training forward, and the loss and target that its output met: `loss` is Keras' own object."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    samples: int
    size: int  # bytes
    step: int
    target: Any = None
    loss: Any = None
    output: int = 0


class KeptBatches:
    """Training inputs of each model, about as many from the last half of a run as from any earlier doubling.

    When a model's share of the limit is full, its oldest batch goes.
    """

    def __init__(self, limit: int, backend: Backend) -> None:
        self.limit = limit
        self.backend = backend
        self.batches: dict[int, list[Kept]] = {}
        self.refused: dict[int, str] = {}
        self._next: dict[int, int] = {}
        self._bytes: dict[int, int] = {}

    def due(self, root: Root, step: int) -> bool:
        number = root.record.id
        if number in self.refused or self.limit <= 0:
            return False
        return step >= self._next.get(number, 0)

    def lacks(self, root: Root) -> bool:
        """Whether fewer batches are kept than the probes need."""
        return len(self.batches.get(root.record.id, ())) < FEW

    def copy(
        self, root: Root, args: tuple[Any, ...], kwargs: dict[str, Any], step: int
    ) -> Kept | None:
        """A host copy of the arguments."""
        found: list[NDArray[Any]] = []

        def host(value: Any) -> Any:
            if not keras_backend.is_tensor(value) and not isinstance(value, np.ndarray):
                return value
            copied = value.copy() if isinstance(value, np.ndarray) else self.backend.host(value)
            found.append(copied)
            return copied

        own = tuple(tree.map_structure(host, a) for a in args)
        named = {k: tree.map_structure(host, v) for k, v in kwargs.items() if k != "training"}
        if not found or not found[0].ndim:
            self.refused[root.record.id] = "its inputs hold no tensor with a sample dimension"
            return None
        size = sum(a.nbytes for a in found)
        if size > self.limit // 2:
            self.refused[root.record.id] = f"one batch takes {size / 2**20:.0f} MB"
            return None
        return Kept(own, named, len(found[0]), size, step)

    def note_target(self, batch: Kept, loss: Any, target: Any, output: int) -> None:
        """Keep the target that the batch's loss read, where it has one entry for each sample."""
        leaves = tree.flatten(target)
        if len(leaves) != 1 or not hasattr(leaves[0], "shape"):
            return
        value = leaves[0]
        value = value.copy() if isinstance(value, np.ndarray) else self.backend.host(value)
        if value.ndim and len(value) == batch.samples:
            batch.target, batch.loss, batch.output = value, loss, output

    def keep(self, root: Root, batch: Kept, share: int) -> None:
        """Keep a batch through which a gradient was taken; `share` models divide the limit."""
        number = root.record.id
        mine = self.batches.setdefault(number, [])
        mine.append(batch)
        self._next[number] = batch.step + max(1, math.floor(batch.step / SPACING))
        self._bytes[number] = self._bytes.get(number, 0) + batch.size
        while self._bytes[number] > self.limit // max(1, share) and len(mine) > 2:
            self._bytes[number] -= mine.pop(0).size
