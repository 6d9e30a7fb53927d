"""Repairs by the framework of the model that is given. Imports none by itself."""

from __future__ import annotations

import sys
from typing import Any

from normscope.repairs.certificate import Certificate


def recalibrate(model: Any, data: Any, **options: Any) -> Certificate:
    """Replace the running statistics of `model`'s batch norms by population statistics, in place.

    Of PyTorch: `normscope.repairs.recalibration.recalibrate`; of Keras: `normscope.repairs.keras.recalibrate`, whose
    options these are.
    """
    keras = sys.modules.get("keras")
    if keras is not None and isinstance(model, keras.Layer):
        from normscope.repairs.keras import recalibrate as of_keras

        return of_keras(model, data, **options)
    from normscope.repairs.recalibration import recalibrate as of_torch

    return of_torch(model, data, **options)
