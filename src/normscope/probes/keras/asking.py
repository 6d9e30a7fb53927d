# pyright: basic
"""Asking a Keras model again on kept batches, by whichever statistics, without leaving a trace."""

from __future__ import annotations

import io
import logging
import random
import sys
import warnings
from collections.abc import Collection, Iterator
from contextlib import (
    AbstractContextManager,
    contextmanager,
    nullcontext,
    redirect_stderr,
    redirect_stdout,
)
from typing import Any

import keras
import numpy as np
from keras.src import tree

from normscope.probes.keras.exchanging import Call, exchanged
from normscope.record.keras import live
from normscope.record.keras.backends import Backend
from normscope.record.keras.batches import Kept


def respond(model: Any, batch: Kept, by_batch: Collection[Any] = (), *, told: bool = True) -> Any:
    """What the model returns for a kept batch as `evaluate` would call it; the given norms with the batch's statistics.

    Not `told`: as a script evaluates that leaves `training` out, which gives way to a flag fixed in a functional model.
    Norms do not move their moving statistics.
    """
    args, kwargs = arguments(model, batch, told=told)
    with as_in_training(by_batch), unmoved(by_batch):
        return model(*args, **kwargs)


def arguments(
    model: Any, batch: Kept, *, told: bool = True, training: bool = False
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What the model is called with for the batch: tensors of its own, and the flag unless it is not `told`."""
    kwargs = {k: fresh(v) for k, v in batch.kwargs.items()}
    if model._call_has_training_arg and told:
        kwargs["training"] = training
    return tuple(fresh(a) for a in batch.args), kwargs


def as_in_training(norms: Collection[Any]) -> AbstractContextManager[None]:
    """Inside, these norms use the batch's statistics, whatever they are told."""
    return exchanged(norms, _by_batch)


def _by_batch(layer: Any, call: Call) -> Call:
    """A norm as in training, while all else is as in inference."""
    del layer

    def inside(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        return call(inputs, *args[1:], **{**kwargs, "training": True})

    return inside


@contextmanager
def unmoved(norms: Collection[Any]) -> Iterator[None]:
    """Inside, training calls leave moving statistics as they are: with a momentum of 1 Keras keeps what was there."""
    kept = [
        (n, name, getattr(n, name))
        for n in norms
        for name in ("momentum", "renorm_momentum")
        if hasattr(n, name)
    ]
    try:
        for norm, name, _ in kept:
            setattr(norm, name, 1.0)
        yield
    finally:
        for norm, name, value in kept:
            setattr(norm, name, value)


def fresh(value: Any) -> Any:
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
