# pyright: basic
"""Batches of another size where `fit` cuts them from arrays."""

from __future__ import annotations

import inspect
from functools import wraps
from typing import Any

import keras

from normscope.trials.patches import Patches

USUAL = 32  # what `fit` takes where no size is given


class Fits:
    """Gives every `fit` of arrays another `batch_size`; its evaluation reads as before. `changed` counts those calls."""

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self.changed = 0

    def install(self, patches: Patches) -> None:
        fit = keras.Model.fit
        signature = inspect.signature(fit)
        fits = self

        @wraps(fit)
        def fitted(*args: Any, **words: Any) -> Any:
            bound = signature.bind(*args, **words)
            given = bound.arguments
            if _arrays(given.get("x")):
                size = given.get("batch_size") or USUAL
                given["validation_batch_size"] = given.get("validation_batch_size") or size
                given["batch_size"] = fits._batch_size
                fits.changed += 1
            return fit(*bound.args, **bound.kwargs)

        patches.set(keras.Model, "fit", fitted)


def _arrays(x: Any) -> bool:
    leaves = keras.tree.flatten(x) if x is not None else []
    return bool(leaves) and all(hasattr(leaf, "shape") for leaf in leaves)
