# pyright: basic
"""Kept batches: a bounded host copy of what training forwards were given."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch

from normscope.graph.torch.tensors import is_named_tuple, like
from normscope.record.torch.roots import Root

SPACING = 32  # the next batch is kept after a step in so many
SURELY = 11  # and after one in so many whatever it costs: eight from each doubling, so that no stage of the training is missed
FEW = 30  # batches; below twenty the gap probe was seen to lose its power
Leaf = (str, bytes, int, float, bool, type(None), torch.dtype, torch.device)


@dataclass(slots=True)
class Kept:
    """The input of one training forward, on the host, and the loss that its output met.

    `target` and `loss` are None when no known loss function was seen. `direct` tells that the loss read the model's
    own output tensor number `output`, and not something computed from it.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    samples: int
    size: int  # bytes
    step: int
    device: torch.device
    target: torch.Tensor | None = None
    loss: str | None = None
    loss_kwargs: dict[str, Any] = field(default_factory=dict)
    direct: bool = False
    output: int = 0

    def call(self, model: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the model returns for the batch's own arguments, or for copies of them on another device."""
        return model(*args, **kwargs)

    def judged_by_user(self, out: Any) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Loss and metric of each sample by functions of the user's own; a watched run has none."""
        del out
        return None, None


class NotKeepableError(Exception):
    """An argument that cannot be copied safely."""


class KeptBatches:
    """Training inputs of each model, about as many from the last half of a run as from any earlier doubling.

    Weights and statistics at the end are asked about, so that late batches tell most: when a model's share of the
    limit is full, its oldest batch goes.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.batches: dict[int, list[Kept]] = {}
        self.refused: dict[int, str] = {}
        self._next: dict[int, int] = {}
        self._tries: dict[int, tuple[int, int]] = {}
        self._bytes: dict[int, int] = {}

    def due(self, root: Root, step: int) -> bool:
        return step >= self.next_due(root)

    def next_due(self, root: Root) -> float:
        """The step from which on an input of the model is wanted; infinite when none is."""
        number = root.record.id
        if number in self.refused or self.limit <= 0:
            return math.inf
        return self._next.get(number, 0)

    def few(self, root: Root, step: int) -> bool:
        """Whether the probes could say little with what is kept: then a copy does not ask what it costs.

        Twice a step at most: of an evaluation with gradients on, every forward would be a candidate.
        """
        number = root.record.id
        before, tries = self._tries.get(number, (-1, 0))
        self._tries[number] = (step, tries + 1 if before == step else 1)
        return self.lacks(root, step) and self._tries[number][1] <= 2

    def lacks(self, root: Root, step: int) -> bool:
        """Whether fewer batches are kept than the probes need, or none of late."""
        mine = self.batches.get(root.record.id, [])
        return len(mine) < FEW or step >= mine[-1].step * (1 + 1 / SURELY)

    def skip(self, root: Root, step: int) -> None:
        """There is no time for a batch now: the next place is later."""
        self._next[root.record.id] = step + max(1, step // SPACING)

    def copy(
        self, root: Root, args: tuple[Any, ...], kwargs: dict[str, Any], step: int
    ) -> Kept | None:
        """A host copy of the arguments, made before the forward may change them in place; None where there is none."""
        if any(t.is_meta for t in _tensors_in((args, kwargs))):
            return None  # shapes alone: the model may get data later
        tensors: list[torch.Tensor] = []
        try:
            own_args = tuple(_copy(a, tensors) for a in args)
            own_kwargs = {k: _copy(v, tensors) for k, v in kwargs.items()}
        except NotKeepableError as error:
            self.refused[root.record.id] = str(error)
            return None
        if not tensors or not tensors[0].ndim:
            self.refused[root.record.id] = "its inputs hold no tensor with a sample dimension"
            return None
        size = sum(t.numel() * t.element_size() for t in tensors)
        if size > self.limit // 2:
            self.refused[root.record.id] = f"one batch takes {size / 2**20:.0f} MB"
            return None
        first = next(_tensors_in((args, kwargs)))
        return Kept(own_args, own_kwargs, tensors[0].shape[0], size, step, first.device)

    def keep(self, root: Root, batch: Kept, share: int) -> None:
        """Keep a batch whose forward a backward used; `share` models divide the limit."""
        number = root.record.id
        mine = self.batches.setdefault(number, [])
        mine.append(batch)
        self._next[number] = batch.step + max(1, batch.step // SPACING)
        self._bytes[number] = self._bytes.get(number, 0) + batch.size
        while self._bytes[number] > self.limit // max(1, share) and len(mine) > 2:
            self._bytes[number] -= mine.pop(0).size


def _copy(value: Any, tensors: list[torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        if type(value) not in (torch.Tensor, torch.nn.Parameter):
            raise NotKeepableError(f"its inputs hold a {type(value).__name__}")
        if value.is_nested:
            raise NotKeepableError("its inputs hold a nested tensor, which has no sample dimension")
        copied = value.detach().to("cpu", copy=True)
        tensors.append(copied)
        return copied
    if isinstance(value, Leaf):
        return value
    if type(value) in (list, tuple) or is_named_tuple(value):
        return like(value, (_copy(v, tensors) for v in value))
    if type(value) is dict:
        return {k: _copy(v, tensors) for k, v in value.items()}
    raise NotKeepableError(f"its inputs hold a {type(value).__name__}")


def _tensors_in(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for v in value.values():
            yield from _tensors_in(v)
    elif isinstance(value, (list, tuple)):
        for v in value:
            yield from _tensors_in(v)
