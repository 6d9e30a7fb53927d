# pyright: basic
"""Losses of torch by their functional name, whichever way the user wrote them."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

Criterion = Callable[[Any, Any], Any]

_OPTIONS = ("weight", "ignore_index", "label_smoothing", "pos_weight", "beta", "delta")
_MODULES: dict[type[nn.Module], str] = {
    nn.CrossEntropyLoss: "cross_entropy",
    nn.NLLLoss: "nll_loss",
    nn.BCELoss: "binary_cross_entropy",
    nn.BCEWithLogitsLoss: "binary_cross_entropy_with_logits",
    nn.MSELoss: "mse_loss",
    nn.L1Loss: "l1_loss",
    nn.SmoothL1Loss: "smooth_l1_loss",
    nn.HuberLoss: "huber_loss",
}


def known(criterion: Criterion) -> tuple[str | None, dict[str, Any]]:
    """The functional name of a loss of torch with its options; None for any other, a subclass among them."""
    if (name := _MODULES.get(type(criterion))) is not None:  # pyright: ignore[reportArgumentType]
        return name, {o: v for o in _OPTIONS if (v := getattr(criterion, o, None)) is not None}
    # By where it is from, not by identity: an observer stands in for torch's own functions.
    name = getattr(criterion, "__name__", "")
    own = name in _MODULES.values() and getattr(criterion, "__module__", "") == F.__name__
    return (name, {}) if own else (None, {})


def per_sample(criterion: Criterion, output: Any, target: Any, samples: int) -> torch.Tensor:
    """What the criterion gives for each sample, float64 on the host; a single number where it gives no more.

    A criterion with a `reduction` is asked for no reduction.
    """
    return each_sample(criterion, output, target, samples).detach()


def each_sample(criterion: Criterion, output: Any, target: Any, samples: int) -> torch.Tensor:
    """The same as `per_sample`, and gradients can be taken of it."""
    each = torch.as_tensor(_unreduced(criterion)(output, target)).cpu().double()
    return (
        each.reshape(samples, -1).mean(1)
        if each.ndim and len(each) == samples
        else each.mean()[None]
    )


def _unreduced(criterion: Criterion) -> Criterion:
    if isinstance(criterion, nn.Module) and getattr(criterion, "reduction", None) in (
        "mean",
        "sum",
    ):
        single = copy.copy(criterion)
        single.reduction = "none"  # pyright: ignore[reportArgumentType]
        return single
    try:
        able = "reduction" in inspect.signature(criterion).parameters
    except (TypeError, ValueError):
        able = False
    return partial(criterion, reduction="none") if able else criterion
