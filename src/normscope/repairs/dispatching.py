"""Repairs by the framework of the model that is given. Imports none by itself."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, cast

from normscope.repairs.certificate import Certificate


def recalibrate(model: Any, data: Any, **options: Any) -> Certificate:
    """Replace the running statistics of `model`'s batch norms by population statistics, in place.

    Of PyTorch: `normscope.repairs.recalibration.recalibrate`; of Keras: `normscope.repairs.keras.recalibrate`, whose
    options these are.
    """
    if of_keras(model):
        from normscope.repairs.keras import recalibrate as recalibrate_keras

        return recalibrate_keras(model, data, **options)
    from normscope.repairs.recalibration import recalibrate as of_torch

    return of_torch(model, data, **options)


def of_keras(made: object) -> bool:
    """Whether what a factory or setup gave holds a model of Keras; without importing Keras for it."""
    keras = sys.modules.get("keras")
    if keras is None:
        return False
    held = cast("Any", made)
    if isinstance(made, Mapping):
        model = held.get("model")
    elif isinstance(made, tuple) and made:
        model = held[0]
    else:
        model = getattr(held, "model", held)
    return isinstance(model, keras.Layer) or isinstance(made, keras.Layer)
