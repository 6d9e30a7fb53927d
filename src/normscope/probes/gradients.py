# pyright: basic
"""The gradient of a batch's mean loss, by layer, with no trace in the model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from normscope.errors import NormscopeError
from normscope.graph.torch import contents, tensors_of
from normscope.probes.criteria import each_sample
from normscope.probes.judgement import known_loss
from normscope.probes.replay import respond, to_device
from normscope.probes.setup import Given

Gradient = list[torch.Tensor]  # one tensor for each parameter


def mean_loss(model: nn.Module, batch: Given) -> torch.Tensor:
    """The loss of one batch, averaged over its samples, as a scalar that gradients can be taken of.

    By the user's loss where one was given, else by what the model itself returns. Raises NormscopeError without either.
    """
    out = respond(model, batch)
    outputs = list(tensors_of(out))
    if batch.criterion is not None:
        device = outputs[0].device if outputs else batch.device
        each = each_sample(batch.criterion, out, to_device(batch.wanted, device), batch.samples)
    else:
        each = known_loss(batch, outputs)
    if each is None:
        raise NormscopeError(
            "it needs a loss, and neither the setup gives one nor does the model return one. Give `'loss': loss_fn`."
        )
    return each.mean()


def gradient(model: nn.Module, batch: Given, parameters: Sequence[nn.Parameter]) -> Gradient:
    """∂ mean loss / ∂ parameter for each; zeros where the loss does not depend on one. `.grad` is left alone."""
    with torch.enable_grad():
        loss = mean_loss(model, batch)
        if not loss.requires_grad:
            raise NormscopeError("its loss does not depend on its parameters by gradients")
        found = torch.autograd.grad(loss, [*parameters], allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """Parameters that want gradients. Raises NormscopeError without any."""
    found = [p for p in contents.parameters(model) if p.requires_grad]
    if not found:
        raise NormscopeError("none of its parameters wants a gradient")
    return found
