# pyright: basic
"""Batches of another size, and none that are incomplete, in the DataLoaders that training reads."""

from __future__ import annotations

from typing import Any

from torch.utils.data import (
    DataLoader,
    DistributedSampler,
    RandomSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from normscope.trials.patches import Patches


class Loaders:
    """Changes the options of every DataLoader that shuffles or weighs: those are what training reads. `changed` counts them."""

    def __init__(self, *, batch_size: int | None = None, drop_last: bool = False) -> None:
        self._batch_size, self._drop_last = batch_size, drop_last
        self.changed = 0

    def install(self, patches: Patches) -> None:
        init = DataLoader.__init__
        change = self._changed
        trains = self._trains

        def built(
            self: Any,
            dataset: Any,
            batch_size: Any = 1,
            shuffle: Any = None,
            sampler: Any = None,
            *rest: Any,
            **words: Any,
        ) -> None:
            if (
                (bool(shuffle) or trains(sampler))
                and batch_size is not None
                and words.get("batch_sampler") is None
            ):
                batch_size, rest, words = change(batch_size, rest, words)
            init(self, dataset, batch_size, shuffle, sampler, *rest, **words)

        patches.set(DataLoader, "__init__", built)

    def _trains(self, sampler: Any) -> bool:
        """Whether a sampler is one that only training has. Random subsets are of validation as often: to read those in batches of another
        size changes nothing in evaluation, to leave some out would.
        """
        if isinstance(sampler, SubsetRandomSampler):
            return not self._drop_last
        if isinstance(sampler, DistributedSampler):
            return bool(sampler.shuffle)
        return isinstance(sampler, (RandomSampler, WeightedRandomSampler))

    def _changed(
        self, batch_size: int, rest: tuple[Any, ...], words: dict[str, Any]
    ) -> tuple[int, tuple[Any, ...], dict[str, Any]]:
        """`rest` are batch_sampler, num_workers, collate_fn, pin_memory, drop_last… by position."""
        if rest and rest[0] is not None:
            return batch_size, rest, words
        if self._drop_last:
            if len(rest) > 4:
                rest = (*rest[:4], True, *rest[5:])
            else:
                words = words | {"drop_last": True}
        self.changed += 1
        return self._batch_size or batch_size, rest, words
