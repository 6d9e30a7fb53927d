# pyright: basic
"""Asking a Keras model again on kept batches, by whichever statistics, without leaving a trace."""

from __future__ import annotations

import io
import logging
import random
import sys
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from typing import Any

import keras
import numpy as np
from keras.src import tree

from normscope.record.keras import live
from normscope.record.keras.backends import Backend
from normscope.record.keras.batches import Kept
from normscope.record.keras.calls import forced, listeners


def respond(model: Any, batch: Kept, by_batch: Collection[Any] = (), *, told: bool = True) -> Any:
    """What the model returns for a kept batch as `evaluate` would call it; the given norms with the batch's statistics.

    Not `told`: as a script evaluates that leaves `training` out, which gives way to a flag fixed in a functional model.
    These do not move their moving statistics: with a momentum of 1 Keras keeps what was there.
    """
    args = tuple(_fresh(a) for a in batch.args)
    kwargs = {k: _fresh(v) for k, v in batch.kwargs.items()}
    if model._call_has_training_arg and told:
        kwargs["training"] = False
    momenta = [(n, n.momentum) for n in by_batch]
    try:
        for norm, _ in momenta:
            norm.momentum = 1.0
            forced.add(id(norm))
        return model(*args, **kwargs)
    finally:
        for norm, momentum in momenta:
            norm.momentum = momentum
        forced.clear()


def _fresh(value: Any) -> Any:
    """The same value as a tensor of its own: a model may change its input in place."""
    return tree.map_structure(
        lambda x: keras.ops.convert_to_tensor(x.copy()) if isinstance(x, np.ndarray) else x, value
    )


@contextmanager
def untouched(model: Any, backend: Backend) -> Iterator[None]:
    """Give back all that a forward pass may change, and the random states; nothing is printed, logged or warned.

    Trained variables are not copied: no gradient is computed and no optimizer runs.
    """
    kept = [(v, backend.read(v)) for v in model.variables if not v.trainable]
    states = _random_states()
    quiet = logging.root.manager.disable
    observer, live.observer[0] = live.observer[0], None
    try:
        with (
            _without_gradients(backend),
            warnings.catch_warnings(),
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            logging.disable(logging.CRITICAL)
            yield
    finally:
        logging.disable(quiet)
        listeners.clear()
        with _without_gradients(backend):
            for variable, value in kept:
                variable.assign(value)
        for undo, state in states:
            undo(state)
        live.observer[0] = observer


def _without_gradients(backend: Backend) -> Any:
    if backend.name == "torch":
        return sys.modules["torch"].no_grad()
    return nullcontext()


def _random_states() -> list[tuple[Any, Any]]:
    states: list[tuple[Any, Any]] = [
        (random.setstate, random.getstate()),
        (np.random.set_state, np.random.get_state()),
    ]
    if (torch := sys.modules.get("torch")) is not None:
        states.append((torch.set_rng_state, torch.get_rng_state()))
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            states.append((torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all()))
    return states
