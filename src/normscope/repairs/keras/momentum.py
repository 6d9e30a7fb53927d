# pyright: basic
"""Setting the momentum of a Keras model's batch norms."""

from __future__ import annotations

from typing import Any

import keras

from normscope.errors import NormscopeError
from normscope.record.keras.batches import Kept
from normscope.record.keras.norms import norms_in
from normscope.repairs.certificate import Certificate
from normscope.repairs.keras.certifying import checked, differences
from normscope.repairs.keras.rebuilding import rebuilt


def set_momentum(
    model: Any,
    momentum: float | None = None,
    batch_factor: float | None = None,
    *,
    batch: Kept | None = None,
) -> tuple[Any, Certificate]:
    """A copy of the model whose batch norms have this momentum, with all weights carried over, and what was done.

    Args:
        model: a functional, sequential or subclassed model that is built from its configuration.
        momentum: in Keras' sense, the weight of the old average.
        batch_factor: how many times larger the batch became: the momentum m becomes m ** batch_factor, which averages over as many
            samples as before.
        batch: training data, with which a subclassed model is built.

    Nothing that the model computes now changes: momentum acts in training only. Raises NormscopeError for neither or both, for a
    momentum outside of 0 to 1, and for a model that has no configuration.
    """
    if (momentum is None) == (batch_factor is None):
        raise NormscopeError("set-momentum takes one of --momentum and --batch-factor.")
    if momentum is not None and not 0 <= momentum < 1:
        raise NormscopeError(
            f"set-momentum got momentum {momentum:g}, but expected the weight of the old average, from 0 to below 1, as 0.99."
        )
    if batch_factor is not None and batch_factor <= 0:
        raise NormscopeError(
            f"set-momentum got the batch factor {batch_factor:g}, but expected one above 0."
        )
    copy = rebuilt(model, {}, batch)
    done = []
    for path, layer in norms_in(copy):
        if isinstance(layer, keras.layers.BatchNormalization):
            was = float(layer.momentum)
            layer.momentum = momentum if momentum is not None else was ** float(batch_factor or 1)
            done.append(f"{path} {was:g} → {layer.momentum:.4g}")
    if not done:
        raise NormscopeError("set-momentum found no BatchNormalization in the model.")
    apart = differences(model, copy, batch)
    checked(apart, "eval", "train")
    shown = ", ".join(done[:3]) + (", …" if len(done) > 3 else "")
    return copy, Certificate(
        repair="set-momentum",
        kind="exact",
        model=type(model).__name__,
        done=f"{len(done)} batch norms have another momentum, in Keras' sense ({shown})",
        checkpoints="unchanged: momentum is no variable",
        differences=apart,
        warnings=("compile the copy before it is trained",),
    )
