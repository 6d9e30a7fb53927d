# pyright: basic
"""The batches of the user's loader, as many as are wanted, each ready to be run through the model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field, is_dataclass
from itertools import chain, islice
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, SequentialSampler

from normscope.errors import NormscopeError
from normscope.graph.torch import tensors_of
from normscope.probes.feeding import Fed, Forward, feeder
from normscope.probes.replay import to_device
from normscope.probes.setup import Loader, batches_of

SAMPLES = 10_000  # 10³ to 10⁴ make the statistics near-optimal (Wu & Johnson 2021, section 3)
Batch = Fed | torch.Tensor  # a tensor is all that the model takes


@dataclass(slots=True)
class Feed:
    """Runs batches through a model on its device; `samples` and `batches` bound how many (None: all)."""

    model: nn.Module
    forward: Forward | None = None
    device: torch.device | str | None = None
    samples: int | None = SAMPLES
    batches: int | None = None
    _place: torch.device = field(init=False)
    _spare: bool = field(
        default=False, init=False
    )  # whether the model was seen to leave its inputs alone

    def __post_init__(self) -> None:
        for name, limit in (("samples", self.samples), ("batches", self.batches)):
            if limit is not None and limit < 1:
                raise NormscopeError(
                    f"`{name}` was given as {limit}, but a number above 0 was expected, or None for the whole loader."
                )
        own = (t.device for t in chain(self.model.parameters(), self.model.buffers()))
        self._place = torch.device(self.device or next(own, "cpu"))

    def of(self, loader: Loader) -> Iterator[tuple[Batch, int]]:
        """Batches as the model takes them, with their number of samples. Raises NormscopeError for what does not fit.

        After the first, the one tensor that a model takes comes bare: what wraps it costs as much as a layer's call of torch.
        """
        split = feeder(self.model, self.forward)
        whole = self.forward is not None
        leading = False  # whether of a tuple or list the model is given the first item alone
        bare = ()
        left = math.inf if self.samples is None else self.samples
        for batch in islice(batches_of(loader, "loader"), self.batches):
            kind = type(batch)
            x = batch[0] if leading and batch and (kind is tuple or kind is list) else batch
            if type(x) is bare and x.ndim:
                given, samples = x, x.shape[0]
            else:
                given = split(batch)
                samples = _samples_in(batch, given, whole=whole)
                leading = not whole and isinstance(batch, (tuple, list)) and len(given.args) == 1
                bare = () if whole else torch.Tensor
            yield given, samples
            left -= samples
            if left <= 0:
                return

    def run(self, given: Batch) -> Any:
        """What the model returns. The loader's own tensors stay as they are."""
        place = self._place
        if type(given) is torch.Tensor and self._spare and given.device == place:
            return self.model(given)
        fed = as_fed(given)
        args, kwargs, _ = fed
        there = self._spare and _are_at(place, args) and _are_at(place, kwargs.values())
        return self._call(args, kwargs) if there else self.run_copied(fed)

    def run_copied(self, fed: Fed) -> Any:
        """As `run`, always on copies."""
        return self._call(*self._moved(fed))

    def _moved(self, fed: Fed) -> tuple[tuple[Any, ...], dict[str, Any]]:
        args, kwargs, _ = fed
        return tuple(to_device(a, self._place) for a in args), {
            k: to_device(v, self._place) for k, v in kwargs.items()
        }

    def run_first(self, given: Batch) -> Any:
        """As `run`, on copies, and sees whether the model changes its inputs in place: if not, later ones need no copy."""
        args, kwargs = self._moved(as_fed(given))
        tensors = [*tensors_of((args, kwargs))]
        plain = all(type(t) is torch.Tensor and not t.is_inference() for t in tensors)
        versions = [t._version for t in tensors] if plain else []
        out = self._call(args, kwargs)
        self._spare = plain and versions == [t._version for t in tensors]
        return out

    def through(self, model: nn.Module) -> Feed:
        """The same with a part of the model, which does to its inputs what the whole was seen to do."""
        other = copy(self)
        other.model = model
        return other

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self.forward is not None:
            return self.forward(self.model, args[0])
        return self.model(*args, **kwargs)


def as_fed(batch: Batch) -> Fed:
    return Fed((batch,), {}) if isinstance(batch, torch.Tensor) else batch


def _samples_in(batch: Any, fed: Fed, *, whole: bool) -> int:
    """The size of the first tensor; of a batch that stays `whole`, a list with one mapping or object a sample, its length."""
    first = fed.args[0] if fed.args else None
    if isinstance(first, torch.Tensor) and first.ndim:
        return first.shape[0]
    each = whole and isinstance(batch, (list, tuple)) and len(batch) > 0
    if each and all(isinstance(x, Mapping) or is_dataclass(x) for x in batch):
        return len(batch)
    return fed.samples


def _are_at(place: torch.device, parts: Iterable[Any]) -> bool:
    """Whether parts of a batch are plain tensors that are on the device already; a container may be changed by who gets it."""
    for given in parts:  # noqa: SIM110, `all` of a generator takes three times as long, and every batch asks
        if type(given) is not torch.Tensor or given.device != place:
            return False
    return True


def part_of(fed: Fed, rows: int) -> Fed | None:
    """The first rows of a batch, None unless every tensor in it has one row for each sample."""
    if any(not isinstance(v, torch.Tensor) for v in (*fed.args, *fed.kwargs.values())):
        return None
    samples = fed.samples
    tensors = (*fed.args, *fed.kwargs.values())
    if any(not t.ndim or t.shape[0] != samples for t in tensors):
        return None
    return Fed(tuple(a[:rows] for a in fed.args), {k: v[:rows] for k, v in fed.kwargs.items()})


def cut_short(loader: Loader | Iterable[Any], limit: int | None) -> str:
    """A warning where only the first samples of data in a fixed order were used; else an empty string."""
    if limit is None or not isinstance(loader, DataLoader):
        return ""
    try:
        length = len(loader.dataset)  # pyright: ignore[reportArgumentType]
    except TypeError:
        return ""
    if length > limit and isinstance(loader.sampler, SequentialSampler):
        return (
            f"the loader is not shuffled, and only the first {limit} of its {length} samples were used: "
            "if they are sorted, shuffle it or give samples=None"
        )
    return ""
