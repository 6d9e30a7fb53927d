# pyright: basic
"""Batch norms of a Keras model that stay as they are in training."""

from __future__ import annotations

from typing import Any

import keras

from normscope.errors import NormscopeError
from normscope.graph.keras.values import read
from normscope.record.keras.batches import Kept
from normscope.record.keras.layers import is_fresh
from normscope.record.keras.norms import norms_in, statistics_of
from normscope.repairs.certificate import Certificate, LeftAlone
from normscope.repairs.keras.certifying import checked, differences
from normscope.repairs.keras.rebuilding import rebuilt


def freeze(model: Any, batch: Kept | None = None) -> tuple[Any, Certificate]:
    """A copy whose batch norms are not trainable: Keras then runs them in inference mode, whatever `training` says.

    Their scale and shift are fixed as well. Norms that still hold mean 0 and variance 1 learned nothing that could be kept, and stay
    trainable. Raises NormscopeError when there is none to freeze, and when the model cannot be built again.
    """
    copy = rebuilt(model, {}, batch)
    done: list[str] = []
    left: list[LeftAlone] = []
    for path, layer in norms_in(copy):
        if not isinstance(layer, keras.layers.BatchNormalization):
            continue
        mean, var = statistics_of(layer) or (None, None)
        if mean is None or var is None or is_fresh(read(mean), read(var)):
            left.append(
                LeftAlone(path=path, reason="its statistics are still mean 0 and variance 1")
            )
        else:
            layer.trainable = False
            done.append(path)
    if not done:
        raise NormscopeError(
            "freeze-batchnorm found no BatchNormalization with statistics of its own. Train the model first, or load its weights."
        )
    apart = differences(model, copy, batch)
    checked(apart, "eval")
    shown = ", ".join(done[:3]) + (", …" if len(done) > 3 else "")
    return copy, Certificate(
        repair="freeze-batchnorm",
        kind="changes-function",
        model=type(model).__name__,
        done=f"{len(done)} batch norms are not trainable, and normalize in training as in inference ({shown})",
        left=tuple(left),
        differences=apart,
        checkpoints="unchanged: `trainable` is no variable; set it again where weights are loaded",
        warnings=("compile the copy before it is trained: `trainable` is read there",),
    )
