# pyright: basic
"""SGD and AdamW over networks side by side, each with its own learning rate."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

BETAS, EPS = (0.9, 0.999), 1e-8


class Optimizer:
    """`name` sgd (momentum 0.9; decay is added to the gradient) or adamw (decay apart from it); formulas as in torch.optim."""

    def __init__(
        self,
        network: nn.Module,
        rates: Tensor,
        *,
        name: str = "sgd",
        momentum: float = 0.9,
        weight_decay: float = 0.0,
    ) -> None:
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        self.rates = [_like(rates, p) for p in self.parameters]
        self.name, self.momentum, self.decay, self.steps = name, momentum, weight_decay, 0
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters] if name == "adamw" else []

    @torch.no_grad()
    def step(self, factor: float = 1.0) -> None:
        """One update at `factor` times the learning rates."""
        self.steps += 1
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in self.parameters]
        (self._adamw if self.name == "adamw" else self._sgd)(gradients, factor)
        for p in self.parameters:
            p.grad = None

    def _sgd(self, gradients: Sequence[Tensor], factor: float) -> None:
        for p, g, m, rate in zip(self.parameters, gradients, self.first, self.rates, strict=True):
            if self.decay:
                g = g + self.decay * p
            m.mul_(self.momentum).add_(g)
            p.addcmul_(m, rate, value=-factor)

    def _adamw(self, gradients: Sequence[Tensor], factor: float) -> None:
        one, two = BETAS
        large, small = 1 - one**self.steps, 1 - two**self.steps
        for i, (p, g, rate) in enumerate(zip(self.parameters, gradients, self.rates, strict=True)):
            if self.decay:
                p.mul_(1 - factor * rate * self.decay)
            m, v = (
                self.first[i].lerp_(g, 1 - one),
                self.second[i].mul_(two).addcmul_(g, g, value=1 - two),
            )
            p.addcmul_(m / ((v / small).sqrt_().add_(EPS)), rate, value=-factor / large)


def _like(rates: Tensor, parameter: Tensor) -> Tensor:
    """The learning rate of each member in a shape that meets the parameter's: its first dimension is members, or members · channels."""
    each = rates.repeat_interleave(len(parameter) // len(rates))
    return each.view(-1, *[1] * (parameter.dim() - 1))
