# pyright: basic
"""The gradient of a batch's mean loss with respect to a Keras model's trainable variables, on any backend, with no trace in the model."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import keras
import numpy as np
import torch

from normscope.errors import NormscopeError
from normscope.probes.gradients import Gradient
from normscope.probes.keras.asking import arguments, as_in_training, unmoved
from normscope.probes.keras.judging import losses_of
from normscope.record.keras.batches import Kept


def gradient(model: Any, batch: Kept, by_batch: Collection[Any]) -> Gradient:
    """∂ mean loss / ∂ variable on the host, zeros where the loss does not depend on one; the given norms with the batch's statistics.

    Raises NormscopeError without a loss, and for a backend that is not known.
    """
    backend = keras.config.backend()
    if backend not in _OF:
        raise NormscopeError(f"gradients are not known on Keras' {backend} backend")
    with as_in_training(by_batch), unmoved(by_batch):
        return _OF[backend](model, batch)


def mean_loss(batch: Kept, out: Any) -> Any:
    """The loss averaged over its samples, as a scalar that gradients can be taken of. Raises NormscopeError without one."""
    each = losses_of(batch, out)
    if each is None:
        raise NormscopeError(
            "it needs a loss, and neither the setup gives one nor is the model compiled with one. Give `'loss': loss_fn`."
        )
    return keras.ops.mean(each)


def _of_torch(model: Any, batch: Kept) -> Gradient:
    args, kwargs = arguments(model, batch)
    variables = [v.value for v in model.trainable_variables]
    with torch.enable_grad():
        loss = mean_loss(batch, model(*args, **kwargs))
        if not loss.requires_grad:
            raise NormscopeError("its loss does not depend on its variables by gradients")
        found = torch.autograd.grad(loss, variables, allow_unused=True)
    return [
        torch.zeros_like(v, device="cpu") if g is None else g.detach().cpu()
        for v, g in zip(variables, found, strict=True)
    ]


def _of_tensorflow(model: Any, batch: Kept) -> Gradient:
    import tensorflow as tf  # pyright: ignore[reportMissingImports, reportMissingModuleSource]

    args, kwargs = arguments(model, batch)
    variables = [v.value for v in model.trainable_variables]
    with tf.GradientTape() as tape:
        loss = mean_loss(batch, model(*args, **kwargs))
    zeros = tf.UnconnectedGradients.ZERO
    return [_host(g) for g in tape.gradient(loss, variables, unconnected_gradients=zeros)]


def _of_jax(model: Any, batch: Kept) -> Gradient:
    import jax  # pyright: ignore[reportMissingImports, reportMissingModuleSource]

    args, kwargs = arguments(model, batch)
    fixed = [v.value for v in model.non_trainable_variables]

    def loss(trainable: Any) -> Any:
        out, _ = model.stateless_call(trainable, fixed, *args, **kwargs)
        return mean_loss(batch, out)

    return [_host(g) for g in jax.grad(loss)([v.value for v in model.trainable_variables])]


def _host(g: Any) -> torch.Tensor:
    return torch.from_numpy(np.array(keras.ops.convert_to_numpy(g), dtype=np.float32))


_OF = {"torch": _of_torch, "tensorflow": _of_tensorflow, "jax": _of_jax}
