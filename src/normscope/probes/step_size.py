# pyright: basic
"""A learning rate for plain SGD where the setup gives no optimizer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from normscope.errors import NormscopeError
from normscope.probes.gradients import gradient, mean_loss, trainable
from normscope.probes.setup import Given

SHARE = 0.25  # of what the rule finds: batches are noisier than their average
LARGEST, HALVINGS = 4.0, 20


def step_size(model: nn.Module, batches: Sequence[Given]) -> float:
    """A quarter of the largest η = 4, 2, 1, … with L(w − η∇L) ≤ L(w) − ½ η |∇L|² on the batches' mean loss L (Armijo 1966).

    The model is in the modes in which L is meant; its parameters hold their values again afterwards. Raises NormscopeError
    where no rate lowers the loss so.
    """
    parameters = trainable(model)
    total = [torch.zeros_like(p) for p in parameters]
    for batch in batches:
        for sum_, g in zip(total, gradient(model, batch, parameters), strict=True):
            sum_ += g / len(batches)
    before = _loss(model, batches)
    square = float(sum(g.double().square().sum() for g in total))
    kept = [p.detach().clone() for p in parameters]
    rate = LARGEST
    try:
        for _ in range(HALVINGS):
            with torch.no_grad():
                for p, value, g in zip(parameters, kept, total, strict=True):
                    p.copy_(value - rate * g)
            if _loss(model, batches) <= before - 0.5 * rate * square:
                return SHARE * rate
            rate /= 2
    finally:
        with torch.no_grad():
            for p, value in zip(parameters, kept, strict=True):
                p.copy_(value)
    raise NormscopeError(
        "no learning rate lowers its loss along the gradient; give training's own: `'optimizer': lambda p: torch.optim.SGD(p, 0.1)`"
    )


def _loss(model: nn.Module, batches: Sequence[Given]) -> float:
    with torch.no_grad():
        return sum(float(mean_loss(model, b)) for b in batches) / len(batches)
