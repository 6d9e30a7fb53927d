# pyright: basic
"""How good the outputs of one batch are, by the loss that the script trained with."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import torch

from normscope.probes.judgement import Judged
from normscope.record.keras.backends import Backend, tensors_of
from normscope.record.keras.batches import Kept

CLASSES = (
    keras.losses.SparseCategoricalCrossentropy,
    keras.losses.CategoricalCrossentropy,
    keras.losses.CategoricalFocalCrossentropy,
)
BINARY = (keras.losses.BinaryCrossentropy, keras.losses.BinaryFocalCrossentropy)


def single(loss: Any) -> Any:
    """The one loss behind what `compile` was given; None where there are several."""
    flat = getattr(loss, "_flat_losses", None)
    if not hasattr(loss, "_user_loss"):
        return loss
    return flat[0].loss if flat and len(flat) == 1 else None


def unit(batch: Kept) -> str | None:
    """The name of PyTorch's loss of the same unit, None for a unit of its own."""
    return "cross_entropy" if isinstance(single(batch.loss), (*CLASSES, *BINARY)) else None


def judge(batch: Kept, out: Any, backend: Backend) -> Judged:
    """Judge what the model returned. An output without one row for each sample is not judged."""
    outputs = list(tensors_of(out))
    if batch.output >= len(outputs):
        return Judged()
    chosen = outputs[batch.output]
    if not len(chosen.shape) or chosen.shape[0] != batch.samples:
        return Judged()
    values = backend.host(chosen).astype(np.float64)
    decision, wrong = decide(batch, values)
    return Judged(
        loss_of(batch, chosen, backend),
        None if wrong is None else torch.from_numpy(wrong),
        None if decision is None else torch.from_numpy(decision.reshape(batch.samples, -1)),
        torch.from_numpy(values.reshape(batch.samples, -1)),
    )


def loss_of(batch: Kept, out: Any, backend: Backend) -> torch.Tensor | None:
    """The loss of each sample, before it is averaged."""
    loss = single(batch.loss)
    if loss is None or batch.target is None:
        return None
    truth, guess = (keras.ops.convert_to_tensor(x, dtype=loss.dtype) for x in (batch.target, out))
    each = loss.call(truth, guess)
    values = backend.host(each).astype(np.float64)
    if not values.ndim or len(values) != batch.samples:
        return None
    return torch.from_numpy(values.reshape(batch.samples, -1).mean(1))


def decide(batch: Kept, values: Any) -> tuple[Any, Any]:
    """Decisions, and the share of wrong ones for each sample; None where there are none, or no target for each."""
    loss, target = single(batch.loss), batch.target
    if isinstance(loss, BINARY):
        logits = loss.get_config().get("from_logits", False)
        decision = values > (0.0 if logits else 0.5)
        truth = None if target is None else np.asarray(target).reshape(values.shape) > 0.5
    elif isinstance(loss, CLASSES) and values.ndim >= 2 and values.shape[-1] > 1:
        decision = values.argmax(-1)
        truth = None if target is None else np.asarray(target)
        if truth is not None and truth.shape == values.shape:
            truth = truth.argmax(-1)
        truth = None if truth is None else truth.reshape(decision.shape)
    else:
        return None, None
    if truth is None:
        return decision, None
    lost = ~np.isfinite(values) if isinstance(loss, BINARY) else ~np.isfinite(values).all(-1)
    wrong = ((decision != truth) | lost).astype(np.float64)
    return decision, wrong.reshape(batch.samples, -1).mean(1)
