# pyright: basic
"""Recurrent layers and layers along time: the first steps are followed one by one."""

from __future__ import annotations

from typing import Any

from keras import KerasTensor, layers
from keras.src import backend, tree

from normscope.graph.keras.recorder import Recorder
from normscope.graph.model import Opaque, View

STEPS = 3  # of a recurrence that are followed: enough to see what every step shares
BUILT_IN = (layers.LSTMCell, layers.GRUCell, layers.SimpleRNNCell)


def _slice(recorder: Recorder, sequence: Any) -> Any:
    """One time step of (N, T, …)."""
    n, _, *rest = sequence.shape
    step = KerasTensor((n, *rest), sequence.dtype)
    sources = ((0,), *((d,) for d in range(2, len(sequence.shape))))
    recorder.emit(View(sources), recorder.read(sequence), step)
    return step


def time_distributed(
    recorder: Recorder, call: Any, layer: Any, inputs: Any, training: Any = None, mask: Any = None
) -> Any:
    """The layer inside runs on each step by itself, in order; all steps are alike, so one is followed."""
    del call, mask
    step = _slice(recorder, inputs)
    words = {"training": training} if layer.layer._call_has_training_arg else {}
    with recorder.inside(layer.layer):
        result = layer.layer.call(step, **words)
    first = tree.flatten(result)[0]
    n, *rest = first.shape
    whole = KerasTensor((n, inputs.shape[1], *rest), first.dtype)
    sources = ((0,), (), *((d,) for d in range(1, len(first.shape))))
    recorder.emit(View(sources), recorder.read(result), whole)
    return whole


def recurrent(
    opaque: Any,
    recorder: Recorder,
    call: Any,
    layer: Any,
    sequences: Any,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """Cells of Keras' own hold no norm: the layer is opaque. Others are followed for a few steps."""
    cells = layer.cell.cells if isinstance(layer.cell, layers.StackedRNNCells) else [layer.cell]
    own = all(type(c) in BUILT_IN for c in cells)
    result = opaque(recorder, call, layer, sequences, *args, **kwargs) if own else None
    if result is not None:
        return result
    spec = backend.compute_output_spec(call, sequences, *args, **kwargs)
    training = kwargs.get("training", args[2] if len(args) > 2 else False)
    states = _initial(layer, sequences)
    words = {"training": training} if layer.cell._call_has_training_arg else {}
    out: Any = None
    reached: list[str] = []
    for _ in range(min(int(sequences.shape[1]), STEPS)):
        out, states = layer.cell(_slice(recorder, sequences), states, **words)
        reached += recorder.read(out)
    # What lies between these steps and the last one is not followed.
    recorder.emit(Opaque(type(layer).__name__), list(dict.fromkeys(reached)), spec)
    return spec


def _initial(layer: Any, sequences: Any) -> Any:
    sizes = layer.cell.state_size
    sizes = list(sizes) if isinstance(sizes, (list, tuple)) else [sizes]

    def zeros(size: Any) -> Any:
        shape = tuple(size) if isinstance(size, (list, tuple)) else (int(size),)
        return KerasTensor((sequences.shape[0], *shape), layer.cell.compute_dtype)

    return [zeros(s) for s in sizes]
