# pyright: basic
"""The samples of many batches cut into batches anew, whatever structure a batch has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from itertools import pairwise
from typing import Any

import torch

from normscope.errors import NormscopeError
from normscope.graph.torch.tensors import like
from normscope.probes.setup import Given

Pick = Callable[[torch.Tensor], Any]  # the value for the samples of these numbers


def shuffled(
    batches: Sequence[Given], sizes: Sequence[int], seed: int
) -> tuple[list[Given], torch.Tensor]:
    """The same samples in random order, in batches of these `sizes`; and the number of each sample, in that order.

    Samples are numbered through the batches as they come. Sizes may add up to fewer than there are. Raises NormscopeError where
    a batch cannot be taken apart: an input of another size along dimension 0, samples of different shapes, an object of the user's own.
    """
    counts = [b.samples for b in batches]
    parts = [(b.args, b.kwargs, b.target, b.wanted) for b in batches]
    pick = _joined(parts, counts)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(sum(counts), generator=generator)[: sum(sizes)]
    found: list[Given] = []
    for number, index in enumerate(order.split(list(sizes))):
        args, kwargs, target, wanted = pick(index)
        found.append(
            replace(
                batches[0],
                args=args,
                kwargs=kwargs,
                target=target,
                wanted=wanted,
                samples=len(index),
                step=number,
            )
        )
    return found, order


def _joined(values: Sequence[Any], counts: list[int]) -> Pick:
    first = values[0]
    if isinstance(first, torch.Tensor) and all(isinstance(v, torch.Tensor) for v in values):
        return _tensors(values, counts)
    if any(type(v) is not type(first) for v in values):
        raise _refusal("an input changes its type from batch to batch")
    if isinstance(first, Mapping):
        if any(v.keys() != first.keys() for v in values):
            raise _refusal("an input's keys change from batch to batch")
        parts = {k: _joined([v[k] for v in values], counts) for k in first}
        return lambda index: {k: p(index) for k, p in parts.items()}
    if isinstance(first, (list, tuple)):
        return _sequences(values, counts)
    if is_dataclass(first) and not isinstance(first, type):
        members = {
            f.name: _joined([getattr(v, f.name) for v in values], counts)
            for f in fields(first)
            if f.init
        }
        return lambda index: replace(first, **{k: p(index) for k, p in members.items()})
    if isinstance(first, (str, bytes, int, float, bool, type(None))) and all(
        v == first for v in values
    ):
        return lambda _: first
    raise _refusal(f"a batch holds a {type(first).__name__} that changes from batch to batch")


def _tensors(values: Sequence[torch.Tensor], counts: list[int]) -> Pick:
    by_sample = all(v.ndim and len(v) == n for v, n in zip(values, counts, strict=True))
    if by_sample and all(v.shape[1:] == values[0].shape[1:] for v in values):
        whole = torch.cat([*values])
        return lambda index: whole[index.to(whole.device)]
    if all(v.shape == w.shape and torch.equal(v, w) for v, w in pairwise(values)):
        return lambda _: values[0]
    told = "samples differ in shape" if by_sample else "dimension 0 of an input is not the samples"
    raise _refusal(told)


def _sequences(values: Sequence[Any], counts: list[int]) -> Pick:
    """Members one by one; where they cannot be, and a list has an item for each sample, the items."""
    reason = _refusal("an input's length changes from batch to batch")
    if all(len(v) == len(values[0]) for v in values):
        try:
            parts = [_joined(column, counts) for column in zip(*values, strict=True)]
        except NormscopeError as refused:
            reason = refused
        else:
            return lambda index: like(values[0], (p(index) for p in parts))
    if all(len(v) == n for v, n in zip(values, counts, strict=True)):
        items = [item for v in values for item in v]
        return lambda index: like(values[0], (items[i] for i in index.tolist()))
    raise reason


def _refusal(reason: str) -> NormscopeError:
    return NormscopeError(f"its samples cannot be put into other batches: {reason}")
