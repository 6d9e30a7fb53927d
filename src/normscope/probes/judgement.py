# pyright: basic
"""How good the outputs of one batch are: loss per sample, wrong decisions, or the outputs themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from normscope.graph.torch import tensors_of
from normscope.record.torch.batches import Kept

LOSSES = {
    "cross_entropy": F.cross_entropy,
    "nll_loss": F.nll_loss,
    "binary_cross_entropy": F.binary_cross_entropy,
    "binary_cross_entropy_with_logits": F.binary_cross_entropy_with_logits,
    "mse_loss": F.mse_loss,
    "l1_loss": F.l1_loss,
    "smooth_l1_loss": F.smooth_l1_loss,
    "huber_loss": F.huber_loss,
}
CLASSES = ("cross_entropy", "nll_loss")
BINARY = {"binary_cross_entropy": 0.5, "binary_cross_entropy_with_logits": 0.0}  # where yes begins
UNITS = dict.fromkeys((*CLASSES, *BINARY), "nats")


@dataclass(frozen=True, slots=True)
class Judged:
    """Per sample, float64 on the host; None where it cannot be had.

    `decision` is (samples, decisions), `output` (samples, features). `loss` and `metric` have one value where
    the model, or a function of the user's, gives no more for a batch.
    """

    loss: torch.Tensor | None = None
    wrong: torch.Tensor | None = None
    decision: torch.Tensor | None = None
    output: torch.Tensor | None = None
    metric: torch.Tensor | None = None


def judge(batch: Kept, out: Any) -> Judged:
    """Judge what the model returned for `batch`. An output without one row for each sample is not judged."""
    outputs = list(tensors_of(out))
    main = _main_output(batch, outputs)
    loss, metric = batch.judged_by_user(out)
    loss = known_loss(batch, outputs) if loss is None else loss
    if main is None:
        return Judged(loss, metric=metric)
    decision = _decision(batch, main)
    wrong = None if decision is None else _wrong(batch, main, decision)
    return Judged(
        loss,
        wrong,
        None if decision is None else decision.reshape(batch.samples, -1).cpu(),
        main.cpu().double().reshape(batch.samples, -1),
        metric,
    )


def _main_output(batch: Kept, outputs: list[torch.Tensor]) -> torch.Tensor | None:
    """The tensor that the loss read; else the first with a floating value for each sample."""
    if batch.direct and batch.output < len(outputs):
        chosen = outputs[batch.output]
        return chosen if chosen.ndim and chosen.shape[0] == batch.samples else None
    return next(
        (t for t in outputs if t.ndim and t.shape[0] == batch.samples and t.is_floating_point()),
        None,
    )


def known_loss(batch: Kept, outputs: list[torch.Tensor]) -> torch.Tensor | None:
    """Per sample by a loss of torch, or the model's own in one value; None where neither is known. Gradients can be taken of it."""
    known = batch.target is not None and batch.direct and batch.output < len(outputs)
    if not known:
        own = [t for t in outputs if t.ndim == 0 and t.is_floating_point()]
        # The model returns its own loss; among several nothing tells which one was trained.
        return own[0].cpu().double().reshape(1) if len(own) == 1 else None
    function = LOSSES.get(batch.loss or "")
    if function is None or batch.target is None:
        return None
    output = outputs[batch.output]
    kwargs = {
        k: v.to(output.device) if isinstance(v, torch.Tensor) else v
        for k, v in batch.loss_kwargs.items()
    }
    each = function(output.float(), _target(batch, output), reduction="none", **kwargs)
    each = each.cpu().double().reshape(batch.samples, -1)
    ignored = _ignored(batch, each.shape[1])
    return each.mean(1) if ignored is None else _mean_of(each, ~ignored)


def _target(batch: Kept, output: torch.Tensor) -> torch.Tensor:
    assert batch.target is not None
    target = batch.target.to(output.device)
    return target.float() if target.is_floating_point() else target


def _decision(batch: Kept, main: torch.Tensor) -> torch.Tensor | None:
    """Yes or no where a binary loss read this very output, the best class under any loss but a regression's."""
    if batch.loss in BINARY:
        return main > BINARY[batch.loss] if batch.direct else None
    if batch.loss in LOSSES and batch.loss not in CLASSES:
        return None
    return main.argmax(1) if main.ndim >= 2 and main.shape[1] > 1 else None


def _wrong(batch: Kept, main: torch.Tensor, decision: torch.Tensor) -> torch.Tensor | None:
    """Share of wrong decisions of each sample, None without a target for each decision."""
    target = batch.target
    if target is None:
        return None
    target = target.to(main.device)
    if batch.loss in BINARY:
        truth = target > 0.5
    elif target.is_floating_point() and target.shape == main.shape:
        truth = target.argmax(1)  # probabilities, or one-hot
    else:
        truth = target
        if not batch.direct and main.shape[1] > 2 * (int(truth.max()) + 1):
            return None  # features that a head turns into classes, not scores of classes
    if truth.shape != decision.shape or truth.is_floating_point():
        return None
    # What is not a number decides nothing: arg-max would take it for the largest.
    lost = ~main.isfinite() if batch.loss in BINARY else ~main.isfinite().all(1)
    wrong = ((decision != truth) | lost).double().reshape(batch.samples, -1).cpu()
    ignored = _ignored(batch, wrong.shape[1])
    return wrong.mean(1) if ignored is None else _mean_of(wrong, ~ignored)


def _ignored(batch: Kept, decisions: int) -> torch.Tensor | None:
    """Which targets the loss leaves out, (samples, decisions); None when it leaves out none."""
    target = batch.target
    if target is None or batch.loss not in CLASSES or target.is_floating_point():
        return None
    ignored = (target == batch.loss_kwargs.get("ignore_index", -100)).reshape(batch.samples, -1)
    return ignored if ignored.shape[1] == decisions and bool(ignored.any()) else None


def _mean_of(values: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
    """Mean over the chosen entries of each row; 0 where there are none, which is the same under any statistics."""
    return torch.where(which, values, 0.0).sum(1) / which.sum(1).clamp_min(1)
