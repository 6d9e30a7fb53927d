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

# Each as a class, and as the function that `compile(loss="…")` means.
CLASSES = (
    (keras.losses.SparseCategoricalCrossentropy, keras.losses.sparse_categorical_crossentropy),
    (keras.losses.CategoricalCrossentropy, keras.losses.categorical_crossentropy),
    (keras.losses.CategoricalFocalCrossentropy, keras.losses.categorical_focal_crossentropy),
)
BINARY = (
    (keras.losses.BinaryCrossentropy, keras.losses.binary_crossentropy),
    (keras.losses.BinaryFocalCrossentropy, keras.losses.binary_focal_crossentropy),
)


def is_one_of(loss: Any, known: Any) -> bool:
    """Whether the loss is of one of these kinds, given as an object or by name."""
    return any(isinstance(loss, kind) or getattr(loss, "fn", None) is fn for kind, fn in known)


def single(loss: Any) -> Any:
    """The one loss behind what `compile` was given; None where there are several."""
    flat = getattr(loss, "_flat_losses", None)
    if not hasattr(loss, "_user_loss"):
        return loss
    return flat[0].loss if flat and len(flat) == 1 else None


def unit(batch: Kept) -> str | None:
    """The name of PyTorch's loss of the same unit, None for a unit of its own."""
    return "cross_entropy" if is_one_of(single(batch.loss), (*CLASSES, *BINARY)) else None


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
        loss_of(batch, out, backend),
        None if wrong is None else torch.from_numpy(wrong),
        None if decision is None else torch.from_numpy(decision.reshape(batch.samples, -1)),
        torch.from_numpy(values.reshape(batch.samples, -1)),
    )


def loss_of(batch: Kept, out: Any, backend: Backend) -> torch.Tensor | None:
    """The loss of each sample, before it is averaged."""
    each = losses_of(batch, out)
    if each is None:
        return None
    values = backend.host(each).astype(np.float64)
    return torch.from_numpy(values.reshape(batch.samples, -1).mean(1))


def losses_of(batch: Kept, out: Any) -> Any:
    """The same as a tensor of the backend, with the samples in dimension 0; None where that is not so, or there is no loss."""
    loss = single(batch.loss)
    if loss is None or batch.target is None:
        return None
    outputs = list(tensors_of(out))
    if batch.output >= len(outputs):
        return None
    truth = keras.ops.convert_to_tensor(batch.target, dtype=loss.dtype)
    guess = keras.ops.convert_to_tensor(outputs[batch.output], dtype=loss.dtype)
    each = loss.call(truth, guess)
    return each if each.shape and each.shape[0] == batch.samples else None


def decide(batch: Kept, values: Any) -> tuple[Any, Any]:
    """Decisions, and the share of wrong ones for each sample; None where there are none, or no target for each."""
    loss, target = single(batch.loss), batch.target
    if is_one_of(loss, BINARY):
        logits = loss.get_config().get("from_logits", False)
        decision = values > (0.0 if logits else 0.5)
        truth = None if target is None else np.asarray(target).reshape(values.shape) > 0.5
    elif is_one_of(loss, CLASSES) and values.ndim >= 2 and values.shape[-1] > 1:
        decision = values.argmax(-1)
        truth = None if target is None else np.asarray(target)
        if truth is not None and truth.shape == values.shape:
            truth = truth.argmax(-1)
        truth = None if truth is None else truth.reshape(decision.shape)
    else:
        return None, None
    if truth is None:
        return decision, None
    lost = ~np.isfinite(values) if is_one_of(loss, BINARY) else ~np.isfinite(values).all(-1)
    wrong = ((decision != truth) | lost).astype(np.float64)
    return decision, wrong.reshape(batch.samples, -1).mean(1)
