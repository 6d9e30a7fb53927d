# pyright: basic
"""A Keras model as evidence: what its norm layers are, and its graph in training and in inference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import keras
import numpy as np

from normscope.checking.inputs import InputSpec
from normscope.checking.target import shortened, user_code
from normscope.concepts.registration import made_anew
from normscope.errors import NormscopeError
from normscope.graph.keras import capture, paths_in
from normscope.graph.keras.lines import CALLERS, users_line, with_lines
from normscope.graph.keras.values import read
from normscope.graph.model import Graph, Node, Norm, Site
from normscope.record.keras.norms import (
    affine_of,
    describe,
    kind_of,
    norms_in,
    scale_of,
    statistics_of,
)
from normscope.record.recording import CHECKED, Channels, Layer, Loaded, Model, Recording

BATCH = 8  # samples of an input whose size only the model knows
SIDE = 64  # of a dimension that the model leaves open


@dataclass(frozen=True, slots=True)
class Example:
    """A model, and what it is called with: None where nobody said."""

    model: Any
    args: tuple[Any, ...] | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])


def is_model(made: Any) -> bool:
    """Whether a factory returned something of Keras', alone or with its inputs."""
    first = made[0] if isinstance(made, tuple) and made else made
    return isinstance(first, (keras.Layer, keras.KerasTensor))


def example_of(made: Any, target: str) -> Example:
    """What a factory returned: a model, or it with its inputs. Raises NormscopeError for a tensor of the functional API."""
    model, *rest = made if isinstance(made, tuple) else (made,)
    if isinstance(model, keras.KerasTensor):
        raise NormscopeError(
            f"`{target}` gives a KerasTensor of shape {model.shape}, the output of layers, but a model was expected: "
            "`return keras.Model(inputs, outputs)`."
        )
    args = None if not rest else tuple(rest[0]) if isinstance(rest[0], tuple) else (rest[0],)
    return Example(model, args, rest[1] if len(rest) > 1 else {})


def inputs_from(specs: Sequence[InputSpec], model: Any) -> tuple[Any, ...]:
    """Stand-ins with these shapes; a functional model takes several in the structure that it was built with."""
    tensors = [keras.KerasTensor(s.shape, s.dtype) for s in specs]
    return _structured(tensors, model)


def _structured(tensors: list[Any], model: Any) -> tuple[Any, ...]:
    structure = getattr(model, "_inputs_struct", None)
    if isinstance(structure, dict) and len(structure) == len(tensors):
        return (dict(zip(structure, tensors, strict=True)),)
    if isinstance(structure, (list, tuple)):
        return (tensors,)
    return tuple(tensors)


def own_inputs(model: Any) -> tuple[Any, ...] | None:
    """What the model says that it takes; None where it does not. Open dimensions get a size."""
    try:
        known = list(getattr(model, "inputs", None) or [])
    except (AttributeError, ValueError):  # a subclass that was never called
        return None
    if not known:
        return None
    tensors = [
        keras.KerasTensor(
            tuple(n or (SIDE if i else BATCH) for i, n in enumerate(t.shape)), t.dtype
        )
        for t in known
    ]
    return _structured(tensors, model)


def static_recording(
    model: Any,
    inputs: Sequence[Any] | None,
    *,
    target: str,
    kwargs: Mapping[str, Any] | None = None,
    loaded: Mapping[Any, Loaded | None] | None = None,
    built: Mapping[Any, Site] | None = None,
) -> Recording:
    """What is known without training: a recording of no steps, with the graphs of training and inference where inputs are known.

    The model's variables are afterwards as before; one that was not built yet is built. Raises NormscopeError when its call raises.
    """
    version = f"{keras.__version__} ({keras.config.backend()})"
    recording = Recording(target=target, framework="keras", framework_version=version)
    recording.status = CHECKED
    record = Model(id=0, name=type(model).__name__, parameters_changed=False)
    recording.models[0] = record
    guessed = inputs is None
    given = own_inputs(model) if inputs is None else tuple(inputs)
    if given is not None:
        recording.graphs = _graphs(model, given, kwargs or {}, guessed)
    record.parameters = int(sum(np.prod(w.shape) for w in model.weights))
    lines = built or {}
    for i, (path, layer) in enumerate(norms_in(model)):
        found = layer_of(i, path, layer)
        found.site = lines.get(layer)
        found.loaded = (loaded or {}).get(layer)
        recording.layers[i] = found
        if (stored := statistics_of(layer)) is not None:
            mean, var = (read(v).astype(np.float64) for v in stored)
            recording.channels[i] = Channels(mean.reshape(-1), var.reshape(-1))
    for node, op in _unheld(recording):
        found = Layer(
            id=len(recording.layers),
            model=0,
            path=node.path,
            type="BatchNormalization",
            registered=False,
        )
        found.kind, found.channels, found.eps, found.momentum = (
            op.kind,
            op.channels or 0,
            op.eps,
            op.momentum,
        )
        found.tracks, found.affine, found.site = op.tracks, op.affine, node.site
        recording.layers[found.id] = found
    record.norm_layers = len(recording.layers)
    places = {path: lines[x] for path, x in paths_in(model) if x in lines}
    recording.graphs = [with_lines(graph, places) for graph in recording.graphs]
    return recording


def _unheld(recording: Recording) -> list[tuple[Node, Norm]]:
    """Norms that ran and that the model does not hold."""
    known = {x.path for x in recording.layers.values()}
    found = {
        n.path: (n, op)
        for graph in recording.graphs
        for n, op in graph.norms()
        if made_anew(n.path) and n.path not in known
    }
    return list(found.values())


def layer_of(number: int, path: str, layer: Any) -> Layer:
    """The facts of a norm layer."""
    found = Layer(
        id=number, model=0, path=path, type=type(layer).__name__, kind=kind_of(layer) or "batch"
    )
    describe(found, layer)
    if not layer.built:
        return found
    values = [read(v).astype(np.float64) for v in affine_of(layer)]
    scaled = scale_of(layer) is not None
    if scaled:
        found.zero_gamma_at_start = found.zero_gamma_at_end = float((values[0] == 0).mean())
        found.gamma_mean_at_start = float(values[0].mean())
        found.gamma_sd_at_start = float(values[0].std())
    if len(values) > scaled:
        found.beta_rms_at_start = float(np.sqrt(np.square(values[-1]).mean()))
    if values:
        found.trainable = any(v.trainable for v in affine_of(layer))
    if (kept := statistics_of(layer)) is not None:
        mean, var = (read(v) for v in kept)
        found.fresh_at_start = found.fresh_at_end = bool((mean == 0).all() and (var == 1).all())
    return found


def _graphs(
    model: Any, inputs: tuple[Any, ...], kwargs: Mapping[str, Any], guessed: bool
) -> list[Graph]:
    """Of training and of inference; none where sizes that were only guessed do not fit."""
    try:
        return [_captured(model, inputs, kwargs, training) for training in (True, False)]
    except NormscopeError:
        if guessed:
            return []
        raise


def _captured(
    model: Any, inputs: tuple[Any, ...], kwargs: Mapping[str, Any], training: bool
) -> Graph:
    shapes = ", ".join(
        str(tuple(t.shape))
        for t in keras.tree.flatten((inputs, dict(kwargs)))
        if hasattr(t, "shape")
    )
    with user_code(
        f"calling the model with training={training} and inputs of {shapes or 'no tensors'}"
    ):
        return capture(model, inputs, kwargs, training=training)


CALLERS.add(_captured.__code__)


@contextmanager
def origins() -> Iterator[Mapping[Any, Site]]:
    """The user's line that made each layer, for layers made inside the context."""
    known: WeakKeyDictionary[Any, Site] = WeakKeyDictionary()
    original = keras.Layer.__init__

    @wraps(original)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        site = users_line(self)
        if site is not None:
            known[self] = site

    keras.Layer.__init__ = init
    try:
        yield known
    finally:
        keras.Layer.__init__ = original


def build(model: Any, inputs: tuple[Any, ...] | None) -> None:
    """Make the variables of a model that has none yet, where its inputs are known."""
    if inputs is not None and not model.built:
        with user_code("building the model"):
            model(*inputs)


def load_into(model: Any, path: Path) -> dict[Any, Loaded | None]:
    """Put a checkpoint's variables into the model and tell what each norm layer got. No code in the file is run.

    Raises NormscopeError when the file is none, or does not fit.
    """
    if not path.is_file():
        raise NormscopeError(
            f"There is no checkpoint `{path}`. Expected a file of `model.save_weights` or `model.save`."
        )
    if not path.name.endswith((".weights.h5", ".keras")):
        raise NormscopeError(
            f"`{path}` is no checkpoint of Keras 3. Expected a file `*.weights.h5` or `*.keras`."
        )
    if not model.built:
        raise NormscopeError(
            f"`{path}` cannot be put into a model that is not built. Give its input, as in `--input 8,224,224,3`."
        )
    try:
        model.load_weights(
            str(path)
        )  # of a `.keras` file too: variables alone, its configuration is not read
    except Exception as error:  # noqa: BLE001  damaged files raise whatever their reader meets first
        told = shortened(" ".join(str(error).split()) or "no message", 200).rstrip(".")
        raise NormscopeError(
            f"`{path}` does not fit the model ({type(error).__name__}: {told}). Give the factory of the model that was saved."
        ) from None
    return {layer: "complete" for _, layer in norms_in(model)}
