# pyright: basic
"""The graph of a Keras model, from one call with shapes alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
from keras import KerasTensor
from keras.src import backend, tree

from normscope.graph.keras.folding import fold
from normscope.graph.keras.layers import paths_in
from normscope.graph.keras.lines import CALLERS
from normscope.graph.keras.patches import recording
from normscope.graph.keras.recorder import Recorder
from normscope.graph.model import Coverage, Graph, Opaque


def capture(
    model: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None = None,
    *,
    training: bool,
    model_id: int = 0,
) -> Graph:
    """The graph of `model(*args, **kwargs, training=training)`.

    Of tensors and arrays in `args` only shapes and dtypes are read. Nothing is computed where layers consist of Keras'
    operations; code that asks for values runs on the backend's own stand-ins, its variables assigned to no effect. A
    model that is not built yet is built, as by any first call. Raises what the model raises.
    """
    given: Any = tree.map_structure(_symbol, (tuple(args), dict(kwargs or {})))
    symbols, words = given
    if not _built(model):
        model(*symbols, **words, training=training)
    recorder = Recorder(model)
    for tensor in tree.flatten((symbols, words)):
        if isinstance(tensor, KerasTensor):
            recorder.input(tensor)
    with _in_no_state(), recording(recorder):
        output = model(*symbols, **words, training=training)
        unknown = sum(not recorder.output(t) for t in tree.flatten(output))
    nodes = fold(recorder.nodes, recorder.facts)
    opaque = Counter(n.op.name for n in nodes if isinstance(n.op, Opaque))
    notes = [f"Partial: the origin of {unknown} output tensor(s) was not seen."] if unknown else []
    if recorder.values_needed:
        names = ", ".join(dict.fromkeys(recorder.values_needed))
        notes.append(
            f"Partial: what {names} computes beside calling layers was not seen, it asks for values."
        )
    coverage = Coverage(
        tuple(name for name, _ in opaque.most_common()),
        tuple(_uncalled(model, recorder)),
        " ".join(notes),
    )
    return Graph(nodes, model=model_id, training=training, coverage=coverage)


CALLERS.add(capture.__code__)


def _symbol(value: Any) -> Any:
    """A stand-in with the shape and dtype of a tensor or array."""
    if isinstance(value, KerasTensor):
        return KerasTensor(value.shape, value.dtype)
    if backend.is_tensor(value) or (hasattr(value, "shape") and hasattr(value, "dtype")):
        return KerasTensor(tuple(value.shape), backend.standardize_dtype(value.dtype))
    return value


def _built(model: Any) -> bool:
    """Whether a call would make no variable."""
    return bool(model.built) and all(layer.built for _, layer in paths_in(model))


@contextmanager
def _in_no_state() -> Iterator[None]:
    """Variables that the model assigns keep their values, and losses that it adds are not kept."""
    with keras.StatelessScope(collect_losses=True):
        yield


def _uncalled(model: Any, recorder: Recorder) -> Iterator[str]:
    """Layers with variables of their own that the call never reached."""
    for path, layer in paths_in(model):
        own = [*layer._trainable_variables, *layer._non_trainable_variables]
        if own and id(layer) not in recorder.ran:
            yield path
