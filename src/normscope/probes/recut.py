# pyright: basic
"""Batches of a loader as one pool of samples, which can be cut anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch

from normscope.errors import NormscopeError
from normscope.graph.torch.tensors import like
from normscope.probes.setup import Given

PLACES = ("a batch", "a batch", "the target", "the target")
PLAIN = (str, bytes, int, float, bool, type(None), torch.dtype, torch.device)


class Pool:
    """All samples of some batches in their order.

    A tensor whose dimension 0 counts the samples in every batch is joined along it; everything else must be the same
    in all batches, and is passed on. Raises NormscopeError with the reason where batches cannot be joined.
    """

    def __init__(self, batches: Sequence[Given]) -> None:
        if not batches:
            raise NormscopeError("there is no batch to cut")
        self.samples = sum(b.samples for b in batches)
        self._like = batches[0]
        self._counts = [b.samples for b in batches]
        self._parts = tuple(
            self._join(list(values), place)
            for place, values in zip(PLACES, zip(*map(_parts, batches), strict=True), strict=True)
        )

    def take(self, which: torch.Tensor) -> Given:
        """The samples with these numbers as one batch."""
        args, kwargs, target, wanted = _pick(self._parts, which)
        return replace(
            self._like, args=args, kwargs=kwargs, target=target, wanted=wanted, samples=len(which)
        )

    def _join(self, values: list[Any], place: str) -> Any:
        first = values[0]
        if isinstance(first, torch.Tensor):
            return self._join_tensors(values, place)
        if any(type(v) is not type(first) for v in values):
            raise NormscopeError(f"{place} is not of one type in all batches")
        if isinstance(first, PLAIN):
            if any(v != first for v in values):
                raise NormscopeError(f"{place} is {first!r} in one batch and another in the next")
            return first
        if isinstance(first, (list, tuple)) and len({len(v) for v in values}) == 1:
            names = (
                [place] if len(first) == 1 else [f"item {i} of {place}" for i in range(len(first))]
            )
            parts = zip(names, zip(*values, strict=True), strict=True)
            return like(first, [self._join(list(p), name) for name, p in parts])
        if isinstance(first, Mapping) and all(v.keys() == first.keys() for v in values):
            return {k: self._join([v[k] for v in values], f"`{k}` of {place}") for k in first}
        if is_dataclass(first) and not isinstance(first, type):
            named = [f.name for f in fields(first) if f.init]
            return replace(
                first,
                **{
                    n: self._join([getattr(v, n) for v in values], f"`{n}` of {place}")
                    for n in named
                },
            )
        raise NormscopeError(
            f"{place} is a {type(first).__name__}, which cannot be cut into samples"
        )

    def _join_tensors(self, values: list[torch.Tensor], place: str) -> Any:
        if not all(isinstance(v, torch.Tensor) for v in values):
            raise NormscopeError(f"{place} is not of one type in all batches")
        if all(v.ndim and len(v) == n for v, n in zip(values, self._counts, strict=True)):
            if len({v.shape[1:] for v in values}) > 1:
                shapes = sorted({str(tuple(v.shape[1:])) for v in values})
                raise NormscopeError(
                    f"the samples of {place} have different shapes, {' and '.join(shapes[:3])}, so that no batches can be cut anew"
                )
            return _Samples(torch.cat([v.detach().cpu() for v in values]))
        if all(v.shape == values[0].shape and torch.equal(v, values[0]) for v in values):
            return values[0]
        raise NormscopeError(
            f"{place} has neither one row for each sample nor the same values in all batches"
        )


class _Samples:
    """One row for each sample of the pool."""

    def __init__(self, rows: torch.Tensor) -> None:
        self.rows = rows


def _parts(batch: Given) -> tuple[Any, ...]:
    return batch.args, batch.kwargs, batch.target, batch.wanted


def _pick(value: Any, which: torch.Tensor) -> Any:
    if isinstance(value, _Samples):
        return value.rows[which]
    if isinstance(value, (list, tuple)):
        return like(value, (_pick(v, which) for v in value))
    if type(value) is dict:
        return {k: _pick(v, which) for k, v in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        named = {f.name: _pick(getattr(value, f.name), which) for f in fields(value) if f.init}
        return replace(value, **named)
    return value
