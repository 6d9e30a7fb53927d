# pyright: basic
"""What a probe of a Keras model is asked about: a model, its data and its loss, as the user hands them over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import keras
import numpy as np
from keras.src import tree
from keras.src.losses.losses import LossFunctionWrapper
from keras.src.trainers.compile_utils import CompileLoss

from normscope.errors import NormscopeError, did_you_mean
from normscope.record.keras.backends import Backend, current
from normscope.record.keras.batches import Kept
from normscope.record.keras.layers import NormLayer
from normscope.record.keras.norms import norms_in

SAMPLES = 4096  # of each source of data
BATCH = 32  # of arrays that come whole
NAMES = ("model", "train", "held_out", "loss", "batch_size")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A model with its batches at hand. `norms` and `paths` are those of all norm layers, by their numbers in the recording."""

    model: Any
    name: str
    train: list[Kept]
    held_out: list[Kept]
    norms: dict[int, Any]
    paths: dict[int, str]
    backend: Backend
    layers: dict[int, NormLayer] = field(default_factory=dict[int, NormLayer])

    @property
    def trained(self) -> dict[int, Any]:
        """The batch norms that training runs with batch statistics: frozen ones are not among them."""
        return {
            k: n
            for k, n in self.norms.items()
            if isinstance(n, keras.layers.BatchNormalization) and n.trainable
        }


def prepared(made: Any, target: str = "the setup", *, samples: int = SAMPLES) -> Prepared:
    """From a mapping or a dataclass with `model` and `train`: a built model, and batches on the host.

    `train` and `held_out` are what `fit` takes: a pair of arrays, a `PyDataset`, `tf.data`, a loader of PyTorch or batches in a
    list; `loss` is as in `compile`, whose own it is by default. Raises NormscopeError for anything else.
    """
    given = _given(made, target)
    model = given["model"]
    if not isinstance(model, keras.Layer):
        raise NormscopeError(
            f"{target} gives a {type(model).__name__} as `model`, but a Keras model was expected."
        )
    loss = _loss(given.get("loss"), model)
    size = int(given.get("batch_size") or BATCH)
    sets = {
        name: _kept(given[name], name, loss, size, samples) if given.get(name) is not None else []
        for name in ("train", "held_out")
    }
    if not model.built:
        model(sets["train"][0].args[0])
    backend = current()
    norms = list(norms_in(model))
    return Prepared(
        model,
        type(model).__name__,
        sets["train"],
        sets["held_out"],
        {i: n for i, (_, n) in enumerate(norms)},
        {i: p for i, (p, _) in enumerate(norms)},
        backend,
    )


def _given(made: Any, target: str) -> dict[str, Any]:
    if isinstance(made, Mapping):
        given = {str(k): v for k, v in made.items()}
    elif is_dataclass(made) and not isinstance(made, type):
        given = {f.name: getattr(made, f.name) for f in fields(made)}
    else:
        raise NormscopeError(
            f"{target} gives a {type(made).__name__}, but a dict with the model and its data was expected: "
            "`return {'model': model, 'train': (x, y)}`."
        )
    for name in given:
        if name not in NAMES and given[name] is not None:
            raise NormscopeError(
                f"{target} gives `{name}`, which is not known of Keras models.{did_you_mean(name, NAMES)} Known: {', '.join(NAMES)}."
            )
    for name in ("model", "train"):
        if given.get(name) is None:
            raise NormscopeError(f"{target} gives no `{name}`. Known: {', '.join(NAMES)}.")
    return given


def _loss(given: Any, model: Any) -> Any:
    """As `compile` takes it, for one output; None where there is none."""
    chosen = given if given is not None else getattr(model, "loss", None)
    if chosen is None or isinstance(chosen, (keras.losses.Loss, CompileLoss)):
        return chosen
    if isinstance(chosen, (dict, list, tuple)):
        return None  # one loss for each of several outputs: none of them is the model's
    found = keras.losses.get(chosen)
    if isinstance(found, keras.losses.Loss):
        return found
    return LossFunctionWrapper(found, name="loss")


def _kept(data: Any, name: str, loss: Any, size: int, samples: int) -> list[Kept]:
    found: list[Kept] = []
    seen = 0
    for x, y in _pairs(data() if callable(data) else data, name, size):
        x, y = (None if v is None else tree.map_structure(_array, v) for v in (x, y))
        leaves = tree.flatten(x)
        if not leaves or not leaves[0].ndim:
            raise NormscopeError(
                f"The batches of `{name}` hold no array with a row for each sample."
            )
        target = y if isinstance(y, np.ndarray) and len(y) == len(leaves[0]) else None
        nbytes = sum(a.nbytes for a in leaves)
        found.append(Kept((x,), {}, len(leaves[0]), nbytes, len(found), target, loss))
        seen += found[-1].samples
        if seen >= samples:
            break
    if not found:
        raise NormscopeError(f"`{name}` gives no batch.")
    return found


def _pairs(data: Any, name: str, size: int) -> Iterator[tuple[Any, Any]]:
    """Inputs and targets of each batch; arrays that come whole are cut."""
    if hasattr(data, "shape") and hasattr(data, "__getitem__"):
        data = (data, None)
    if isinstance(data, tuple) and len(data) > 1 and hasattr(tree.flatten(data)[0], "shape"):
        x, y = list(data)[:2]
        for start in range(0, int(tree.flatten(x)[0].shape[0]), size):
            yield _part(x, start, size), _part(y, start, size)
        return
    if isinstance(data, keras.utils.PyDataset):
        data = (data[i] for i in range(data.num_batches or 0))
    try:
        batches = iter(data)
    except TypeError:
        raise NormscopeError(
            f"`{name}` is a {type(data).__name__}, but arrays `(x, y)`, a data set, or batches were expected."
        ) from None
    for batch in batches:
        pair = isinstance(batch, (tuple, list)) and len(batch) > 1
        yield (batch[0], batch[1]) if pair else (batch, None)


def _part(value: Any, start: int, size: int) -> Any:
    return None if value is None else tree.map_structure(lambda a: a[start : start + size], value)


def _array(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value
    if keras.ops.is_tensor(value) or not hasattr(value, "detach"):
        return np.asarray(keras.ops.convert_to_numpy(value))
    return value.detach().cpu().numpy()  # of PyTorch's loader, on another backend
