"""Which operation made the values that a tensor holds, followed through views and in-place writes.

Values belong to a region (offset, shape, strides) of a storage. Storages are referred to weakly: nothing is kept
alive, and a freed storage's number is not given out again while we refer to it.
"""
# pyright: basic

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.multiprocessing.reductions import StorageWeakRef


class Region(NamedTuple):
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype


class Write(NamedTuple):
    region: Region
    node: str


class _Storage:
    """The values in one storage. `writes` are in-place; `made[region]` says how many of them it has seen."""

    __slots__ = ("made", "mask", "parameter", "ref", "weight", "writes")

    def __init__(self, ref: StorageWeakRef) -> None:
        self.ref = ref
        self.made: dict[Region, tuple[str, int]] = {}
        self.writes: list[Write] = []
        self.weight = False  # computed from parameters alone
        self.parameter = ""  # its path, where the storage is one parameter's
        self.mask: float | None = None  # random zeros: the probability of one


class Stale(NamedTuple):
    """A tensor that was written to through another tensor. `before` is None when it held a constant."""

    before: str | None
    writes: list[Write]  # those that may have changed it, the last one that covers it first
    covered: bool


class Values:
    def __init__(self) -> None:
        self._storages: dict[int, _Storage] = {}

    def _find(self, tensor: torch.Tensor) -> _Storage | None:
        try:
            return self._storages.get(tensor.untyped_storage()._cdata)
        except NotImplementedError:  # sparse and other layouts have no storage
            return None

    def _own(self, tensor: torch.Tensor) -> _Storage | None:
        try:
            storage = tensor.untyped_storage()
        except NotImplementedError:
            return None
        found = self._storages.get(storage._cdata)
        if found is None:
            found = self._storages[storage._cdata] = _Storage(StorageWeakRef(storage))
        return found

    def set(self, tensor: torch.Tensor, node: str) -> None:
        """`tensor` is the fresh result of `node`, or a view that it made."""
        if storage := self._own(tensor):
            storage.made[region_of(tensor)] = (node, len(storage.writes))

    def write(self, tensor: torch.Tensor, node: str) -> None:
        """`node` wrote its result into `tensor`; whatever shares memory with it changed too."""
        if storage := self._own(tensor):
            region = region_of(tensor)
            storage.writes.append(Write(region, node))
            storage.made[region] = (node, len(storage.writes))

    def get(self, tensor: torch.Tensor) -> str | Stale | None:
        """The node that made `tensor`'s values; None for a constant."""
        storage = self._find(tensor)
        if storage is None:
            return None
        region = region_of(tensor)
        before, seen = storage.made.get(region, (None, 0))
        since: list[Write] = []
        covered = False
        for write in reversed(storage.writes[seen:]):
            if not disjoint(region, write.region):
                since.append(write)
                if covered := covers(write.region, region):
                    break
        if not since:
            return before
        return Stale(before, since[::-1], covered)

    def reshaped(self, tensor: torch.Tensor) -> None:
        """`tensor` changed its own shape: it still holds what its storage was last known to hold in that size."""
        storage = self._find(tensor)
        if storage is not None:
            region = region_of(tensor)
            made = [m for r, m in storage.made.items() if _numel(r) == _numel(region)]
            if made and region not in storage.made:
                storage.made[region] = made[-1]

    def same(self, a: torch.Tensor, b: torch.Tensor) -> bool:
        """The very same memory, read the same way."""
        storage = self._find(a)
        return storage is not None and storage is self._find(b) and region_of(a) == region_of(b)

    def mark_weight(self, tensor: torch.Tensor, path: str = "") -> None:
        """`path` is that of a parameter; several in one storage have none."""
        if storage := self._own(tensor):
            if path:
                storage.parameter = "" if storage.weight else path
            storage.weight = True

    def parameter(self, tensor: torch.Tensor) -> str:
        """The path of the parameter that `tensor` is, or is a view of; empty for anything else."""
        storage = self._find(tensor)
        return storage.parameter if storage else ""

    def is_weight(self, tensor: torch.Tensor) -> bool:
        """A parameter, or made of parameters alone."""
        if isinstance(tensor, torch.nn.Parameter) or (tensor.is_leaf and tensor.requires_grad):
            return True
        storage = self._find(tensor)
        return storage is not None and storage.weight

    def mark_mask(self, tensor: torch.Tensor, keep: float) -> None:
        if storage := self._own(tensor):
            storage.mask = keep

    def mask(self, tensor: torch.Tensor) -> float | None:
        storage = self._find(tensor)
        return storage.mask if storage else None


def region_of(tensor: torch.Tensor) -> Region:
    return Region(
        int(tensor.storage_offset()), tuple(tensor.shape), tuple(tensor.stride()), tensor.dtype
    )


def covers(outer: Region, inner: Region) -> bool:
    """Both fill the same stretch of memory without gaps."""
    return outer == inner or (
        outer.offset == inner.offset
        and outer.dtype == inner.dtype
        and _numel(outer) == _numel(inner)
        and _dense(outer)
        and _dense(inner)
    )


def disjoint(a: Region, b: Region) -> bool:
    """Certainly no shared element: apart in memory, or apart along one dimension of a common base."""
    if a.offset + _span(a) <= b.offset or b.offset + _span(b) <= a.offset:
        return a.dtype == b.dtype
    if a.stride != b.stride or a.dtype != b.dtype:
        return False
    rest_a, rest_b = a.offset, b.offset
    for d in sorted(range(len(a.stride)), key=lambda d: -a.stride[d]):
        if a.stride[d] == 0:
            return False
        at_a, rest_a = divmod(rest_a, a.stride[d])
        at_b, rest_b = divmod(rest_b, b.stride[d])
        if at_a + a.shape[d] <= at_b or at_b + b.shape[d] <= at_a:
            return True
    return False


def _numel(r: Region) -> int:
    n = 1
    for s in r.shape:
        n *= s
    return n


def _span(r: Region) -> int:
    """Elements from the first to behind the last."""
    return 1 + sum((n - 1) * s for n, s in zip(r.shape, r.stride, strict=True))


def _dense(r: Region) -> bool:
    return _span(r) == _numel(r) and 0 not in r.stride
