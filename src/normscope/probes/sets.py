# pyright: basic
"""Averaged gradients of a set of samples, made small enough to keep many of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch

from normscope.probes.gradients import Gradient

Ask = Callable[
    [Any], Gradient
]  # the gradient of a batch's mean loss, one tensor for each parameter
WIDTH = 8192  # numbers kept of a layer


class Samples(Protocol):
    """Samples that can be cut into batches anew."""

    @property
    def samples(self) -> int: ...

    def take(self, which: torch.Tensor) -> Any: ...


class Layout:
    """Where each layer's part stands in one vector of numbers.

    A layer with more than `WIDTH` parameters is kept as a sketch: parameters whose index leaves the same rest modulo
    `WIDTH` are added with random signs. Inner products of sketches are right on average, with a relative error of about √(2 / WIDTH) = 1.6 %
    of the product of the lengths (Charikar, Chen & Farach-Colton 2002).
    """

    def __init__(
        self, layers: Mapping[str, Sequence[int]], parameters: Sequence[torch.Tensor]
    ) -> None:
        self.layers = [list(numbers) for numbers in layers.values()]
        self.slices: list[slice] = []
        self._signs: list[torch.Tensor | None] = []
        generator = torch.Generator().manual_seed(0)
        start = 0
        for numbers in self.layers:
            count = sum(parameters[i].numel() for i in numbers)
            self.slices.append(slice(start, start + min(count, WIDTH)))
            start = self.slices[-1].stop
            rows = -(-count // WIDTH)
            signs = torch.randint(0, 2, (rows, WIDTH), generator=generator, dtype=torch.int8)
            self._signs.append(signs.mul_(2).sub_(1) if count > WIDTH else None)

    def keep(self, found: Gradient) -> torch.Tensor:
        """The gradient as one vector on the host."""
        return torch.cat(
            [
                _sketch(
                    torch.cat([found[i].detach().reshape(-1) for i in numbers]).float().cpu(), signs
                )
                for numbers, signs in zip(self.layers, self._signs, strict=True)
            ]
        )


def _sketch(values: torch.Tensor, signs: torch.Tensor | None) -> torch.Tensor:
    if signs is None:
        return values
    padded = values.new_zeros(signs.numel())
    padded[: len(values)] = values
    return (padded.view_as(signs) * signs).sum(0)


def averaged(
    ask: Ask, pool: Samples, members: torch.Tensor, size: int, layout: Layout
) -> torch.Tensor:
    """The mean over batches of `size`, cut from the members in their order, of the gradient of the mean loss."""
    total: Gradient | None = None
    parts = members.split(size)
    for part in parts:
        found = ask(pool.take(part))
        if total is None:
            total = [g.clone() for g in found]
        else:
            for sum_, g in zip(total, found, strict=True):
                sum_ += g
    assert total is not None
    return layout.keep(total) / len(parts)
