# pyright: basic
"""Optimizer parameter groups in which norms and biases are not decayed."""

from __future__ import annotations

from typing import Any

from torch import nn

from normscope.errors import NormscopeError
from normscope.record.torch.norms import norms_in


def weight_decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups for any optimizer of torch: weights with `weight_decay`, and scales, shifts and biases without.

    Every parameter that requires a gradient is in exactly one group, shared ones once, in the order of the model. (Decaying γ and β
    before a ReLU shrinks what is passed on; excluding them is the recipe of Goyal et al. 2017, arXiv 1706.02677.)

        optimizer = torch.optim.SGD(weight_decay_groups(model, 1e-4), lr=0.1)

    Raises NormscopeError for a negative weight decay, and for a model without trainable parameters.
    """
    if not weight_decay >= 0:
        raise NormscopeError(f"A weight decay of at least 0 was expected; got {weight_decay:g}.")
    of_norms = {id(p) for _, module, _ in norms_in(model) for p in module.parameters(recurse=False)}
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for parameter in model.parameters():
        if parameter.requires_grad:
            single = parameter.ndim <= 1 or id(parameter) in of_norms
            (free if single else decayed).append(parameter)
    if not decayed and not free:
        raise NormscopeError(f"`{type(model).__name__}` has no parameter that requires a gradient.")
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    return [g for g in groups if g["params"]]
