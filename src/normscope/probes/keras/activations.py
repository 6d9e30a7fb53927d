# pyright: basic
"""Every sigmoid and tanh that a Keras model computes, by the path of the layer that calls it, on any backend."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from keras.src import backend as keras_backend

from normscope.graph.keras import paths_in
from normscope.probes.keras.exchanging import Call, exchanged
from normscope.probes.saturation import BOUNDS, Saturations
from normscope.record.keras.backends import Backend

HOMES = {"tanh": keras_backend.numpy, "sigmoid": keras_backend.nn}  # where `keras.ops` finds them


@contextmanager
def counting(model: Any, backend: Backend) -> Iterator[Saturations]:
    """What is computed inside the context is counted, per unit of the last dimension; inside layers that the model holds, by their path."""
    running: list[str] = []
    found = Saturations(running)
    paths = {id(layer): path for path, layer in paths_in(model)}

    def followed(layer: Any, call: Call) -> Call:
        def inside(*args: Any, **kwargs: Any) -> Any:
            running.append(paths[id(layer)])
            try:
                return call(*args, **kwargs)
            finally:
                running.pop()

        return inside

    originals = {name: getattr(home, name) for name, home in HOMES.items()}
    try:
        for name, home in HOMES.items():
            setattr(home, name, _counted(originals[name], name, found, backend))
        with exchanged((layer for _, layer in paths_in(model)), followed):
            yield found
    finally:
        for name, home in HOMES.items():
            setattr(home, name, originals[name])


def _counted(function: Call, name: str, found: Saturations, backend: Backend) -> Call:
    def counted(x: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(x, "ndim", 0) >= 2 and name in BOUNDS:
            values = torch.from_numpy(backend.host(x).astype("float32")).movedim(-1, 1)
            found.call(name, lambda *_: None, (values,), {})
        return function(x, *args, **kwargs)

    return counted
