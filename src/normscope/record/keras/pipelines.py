# pyright: basic
"""Whether a `tf.data` pipeline may be read once more when the run is over: it must end by itself and run no code of the script."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

# Kinds of data sets that hold their data or make it from their input by TensorFlow's own operations.
PLAIN = {
    "TensorDataset",
    "TensorSliceDataset",
    "RangeDataset",
    "TFRecordDatasetV2",
    "_TFRecordDataset",
    "ConcatenateDataset",
    "ZipDataset",
    "ShuffleDataset",
    "BatchDataset",
    "ParallelBatchDataset",
    "PaddedBatchDataset",
    "PrefetchDataset",
    "RepeatDataset",
    "TakeDataset",
    "SkipDataset",
    "ShardDataset",
    "MapDataset",
    "ParallelMapDataset",
    "FilterDataset",
    "OptionsDataset",
    "CacheDataset",
    "MemoryCacheDataset",
}
PYTHON = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}
SHORT = 256  # batches; a cache that is not read to its end complains


def why_not(dataset: Any) -> str | None:
    """The reason not to read the pipeline again; None where it may be."""
    for part in _parts(dataset):
        name = type(part).__name__.lstrip("_")
        if name not in PLAIN and f"_{name}" not in PLAIN:
            return f"its pipeline has a part, {name}, that may run code of the script or never end"
        if _runs_python(part):
            return "its pipeline runs Python code of the script"
    if _cached(dataset) and not 0 < int(dataset.cardinality()) <= SHORT:
        return f"its pipeline is cached and longer than {SHORT} batches"
    return None


def some(dataset: Any, most: int) -> Iterable[Any]:
    """The first batches; all of a cached pipeline are read."""
    if not _cached(dataset):
        return dataset.take(most)
    return islice(iter(list(dataset)), most)


def batch_size(adapter: Any) -> int:
    """The size that the pipeline's last batching asked for; 0 where it says nothing."""
    if not hasattr(adapter, "_dataset"):
        return 0
    for part in _parts(adapter._dataset):
        if (size := getattr(part, "_batch_size", None)) is not None:
            return int(size)
    return 0


def _parts(dataset: Any) -> Iterator[Any]:
    yield dataset
    for below in dataset._inputs():
        yield from _parts(below)


def _cached(dataset: Any) -> bool:
    return any(type(part).__name__ == "CacheDataset" for part in _parts(dataset))


def _runs_python(part: Any) -> bool:
    """Whether the function of a map or filter leaves TensorFlow's operations."""
    wrapped = getattr(part, "_map_func", None) or getattr(part, "_predicate", None)
    graph = getattr(getattr(wrapped, "function", None), "graph", None)
    if wrapped is None:
        return False
    return graph is None or any(op.type in PYTHON for op in graph.get_operations())
