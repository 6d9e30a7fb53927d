# pyright: basic
"""Where the batches of a compiled loop come from: how large they are, and now and then one of them.

TensorFlow takes a batch out of its data set inside the compiled step, where it cannot be looked at. Arrays give rows of
their own; what a generator or a `PyDataset` makes passes by in Python; a `tf.data` pipeline is read again when the run
is over.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from keras.src import backend as keras_backend
from keras.src import tree
from keras.src.trainers.data_adapters import array_slicing
from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter
from keras.src.trainers.data_adapters.tf_dataset_adapter import TFDatasetAdapter

from normscope.record.guard import guarded
from normscope.record.keras import pipelines
from normscope.record.keras.batches import FEW
from normscope.record.keras.registry import Root
from normscope.record.keras.tracing import Traced, inputs_in, samples_in

if TYPE_CHECKING:
    from normscope.record.keras.loops import Loop
    from normscope.record.keras.observer import Observer

AHEAD = 4096  # sizes of batches that are remembered
SECONDS = 2.0  # for reading a pipeline again


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class OneBatch:
    """The source of data of `train_on_batch`."""

    batch_size: int
    inputs: tuple[Any, ...]


class Sources:
    """What the data sources of compiled loops tell."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self._rows = np.random.default_rng(
            0
        )  # of our own: the script's random numbers stay its own
        # Of sources that make batches in Python: a copy of one; None: one is wanted.
        self._made: weakref.WeakKeyDictionary[Any, list[Any] | None] = weakref.WeakKeyDictionary()
        # Of the same, the sizes of batches that were made and not trained on yet.
        self._sizes: weakref.WeakKeyDictionary[Any, deque[int]] = weakref.WeakKeyDictionary()
        self._pipelines: dict[int, tuple[Root, Any, Traced]] = {}

    def samples(self, loop: Loop, last: int) -> int:
        """The size of the batch that was just done, as its source tells it; 0 when nobody does."""
        adapter = getattr(loop.iterator, "data_adapter", None)
        if adapter is None:
            return loop.size
        if isinstance(adapter, OneBatch):
            return adapter.batch_size
        try:
            size, batches = adapter.batch_size, adapter.num_batches
            partial = adapter.partial_batch_size if size else None
        except NotImplementedError:
            return loop.size
        if made := self._sizes.get(adapter):
            loop.size = made.popleft()
            return loop.size
        if not size:
            return self._counted(loop, last, batches)
        if partial and batches and last >= batches - 1:
            return int(partial)
        return int(size)

    def _counted(self, loop: Loop, last: int, batches: int | None) -> int:
        """Keras' own loss counts samples from the beginning of an epoch: asked after its first and its last batch."""
        tracker = getattr(loop.model, "_loss_tracker", None)
        if self.observer.backend.name != "tensorflow" or tracker is None:
            return loop.size
        times = max(1, int(getattr(loop.model, "steps_per_execution", 1) or 1))
        first = last < times
        if not first and not (batches and last >= batches - 1):
            return loop.size
        total = int(self.observer.read(tracker.count))
        if not total:  # steps of the model's own may leave it alone
            loop.size = loop.size or pipelines.batch_size(loop.iterator.data_adapter)
            return loop.size
        if first:
            loop.size = total // times
            return loop.size
        rest = total - loop.size * last
        return rest if 0 < rest <= loop.size else loop.size

    @guarded
    def made(self, adapter: Any, batch: Any) -> None:
        """A batch passes by on its way into TensorFlow, on a thread of its own; its memory may be used again after it."""
        if threading.get_ident() == self.observer.thread:
            return  # asked for its first batches, to learn their shapes
        inputs = inputs_in(batch)
        self._sizes.setdefault(adapter, deque(maxlen=AHEAD)).append(samples_in(inputs))
        if self._made.get(adapter) is None:
            self._made[adapter] = [np.array(x, copy=True) for x in inputs]

    def begins(self, iterator: Any) -> None:
        """An epoch begins: what was made ahead of its time and not used is forgotten, where batches are made anew."""
        anew = iterator._current_iterator is None or iterator.steps_per_epoch is None
        if anew and (made := self._sizes.get(iterator.data_adapter)) is not None:
            made.clear()

    def keep(self, loop: Loop, last: int, templates: Sequence[Traced]) -> None:
        """Keep the batch of a training step, or one like it, where one is due and can be had."""
        observer = self.observer
        kept, step = observer.kept, observer.steps.count
        for traced in templates:
            root = traced.forward.root
            if not (traced.arguments and root.layers and kept.due(root, step)):
                continue
            if not (kept.lacks(root) or observer.schedule.affords(1e-4)):
                continue
            adapter = getattr(loop.iterator, "data_adapter", None)
            if isinstance(adapter, TFDatasetAdapter):
                self._pipelines[root.record.id] = (root, adapter.get_tf_dataset(), traced)
                continue
            began = perf_counter()
            if (inputs := self._inputs(adapter, last)) is not None:
                self.store(root, traced, inputs, step)
            observer.books.measured += perf_counter() - began

    def store(self, root: Root, traced: Traced, inputs: Sequence[Any], step: int) -> None:
        """Keep what a traced forward got, and met, in a run of its step with these inputs."""
        kept, given = self.observer.kept, traced.given(inputs)
        if given is None or (batch := kept.copy(root, *given, step)) is None:
            return
        target = traced.target
        if target is not None and target.place < len(inputs):
            kept.note_target(batch, target.loss, inputs[target.place], target.output)
        models = sum(bool(r.layers) for r in self.observer.registry.roots)
        kept.keep(root, batch, max(1, models))

    def _inputs(self, adapter: Any, last: int) -> list[Any] | None:
        if isinstance(adapter, OneBatch):
            return inputs_in(adapter.inputs)
        if isinstance(adapter, ArrayDataAdapter):
            return self._some_rows(adapter, last)
        try:
            made = self._made.get(adapter)
        except TypeError:  # a source of a kind of its own
            return None
        if made is not None:
            self._made[adapter] = None
        return made

    def _some_rows(self, adapter: Any, last: int) -> list[Any]:
        """A batch of the arrays that `fit` was given: any rows where it shuffles them, else those whose turn it was."""
        total, size = adapter._num_samples, min(adapter._batch_size, adapter._num_samples)
        if adapter._shuffle:
            rows = self._rows.integers(0, total, size)
        else:
            begin = min(last * size, total - size)
            rows = np.arange(begin, begin + size)

        def take(source: Any) -> Any:
            return source.convert_to_numpy(source[rows])

        sources = array_slicing.convert_to_sliceable(adapter._inputs, target_backend="numpy")
        return [take(x) for x in tree.flatten(sources) if x is not None]

    def read_again(self) -> None:
        """When the run is over: batches of the pipelines that fed compiled steps, of those that are safe to read again."""
        for root, dataset, traced in self._pipelines.values():
            if root.model is None or len(self.observer.kept.batches.get(root.record.id, ())) > 1:
                continue
            if (reason := pipelines.why_not(dataset)) is not None:
                self.observer.kept.refused.setdefault(root.record.id, reason)
                continue
            self._read(root, traced, pipelines.some(dataset, FEW))

    def _read(self, root: Root, traced: Traced, batches: Iterable[Any]) -> None:
        began = perf_counter()
        for i, batch in enumerate(batches):
            values = [keras_backend.convert_to_numpy(x) for x in inputs_in(batch)]
            self.store(root, traced, values, self.observer.steps.count + i)
            if perf_counter() - began > SECONDS:
                return
