# pyright: basic
"""The random states of a process, as before after a run in it."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

GENERATOR = "global_seed_generator"  # Keras' own, for what has no seed; made from Python's random state when it is first used


@contextmanager
def random_states(torch: Any, keras: Any) -> Iterator[None]:
    """Those of Python, NumPy, PyTorch and Keras; the last two may be None."""
    numpy: Any = sys.modules.get("numpy")
    python = random.getstate()
    arrays = numpy.random.get_state() if numpy else None
    try:
        with _of_torch(torch), _of_keras(keras):
            yield
    finally:
        random.setstate(python)
        if arrays is not None:
            numpy.random.set_state(arrays)


@contextmanager
def _of_torch(torch: Any) -> Iterator[None]:
    if torch is None:
        yield
        return
    own = torch.get_rng_state()
    used = torch.cuda.is_available() and torch.cuda.is_initialized()
    devices = torch.cuda.get_rng_state_all() if used else None
    try:
        yield
    finally:
        torch.set_rng_state(own)
        if devices is not None:
            torch.cuda.set_rng_state_all(devices)


@contextmanager
def _of_keras(keras: Any) -> Iterator[None]:
    """Within it there is no generator yet, so that every run begins with one of its own."""
    if keras is None:
        yield
        return
    from keras.src.backend.common import global_state

    before = global_state.get_global_attribute(GENERATOR)
    global_state.set_global_attribute(GENERATOR, None)
    try:
        yield
    finally:
        global_state.set_global_attribute(GENERATOR, before)
