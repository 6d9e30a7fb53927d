# pyright: basic
"""Networks side by side: one module holds a network for each learning rate and seed, and one pass runs them all.

A tensor of activations is (batch, members · channels, …), the channels of a member together. Batch normalization treats channels
apart, so PyTorch's own layer over members · channels channels is that of every member; group norm has members · groups groups,
convolutions `groups=members`. On one core this runs thirty small networks in the time of three.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Members:
    """`rates` × `seeds` networks, the seeds of a rate together. Those of one seed begin alike at every rate."""

    def __init__(self, seeds: Sequence[int], rates: int = 1) -> None:
        self.seeds, self.rates = tuple(seeds), rates
        self._generators = [torch.Generator().manual_seed(s) for s in self.seeds]

    def __len__(self) -> int:
        return len(self.seeds) * self.rates

    def normal(self, *shape: int) -> Tensor:
        """(members, *shape) of the standard normal distribution."""
        drawn = torch.stack([torch.randn(shape, generator=g) for g in self._generators])
        return drawn.repeat(self.rates, *[1] * len(shape))

    def spread(self, x: Tensor) -> Tensor:
        """What each seed sees, (batch, seeds, channels, …), as what each member sees, (batch, members · channels, …)."""
        batch, _, *rest = x.shape
        wide = x.unsqueeze(1).expand(batch, self.rates, *x.shape[1:])
        return wide.reshape(batch, len(self) * rest[0], *rest[1:])

    def apart(self, x: Tensor) -> Tensor:
        """(batch, members · channels, …) as (batch, members, channels, …)."""
        return x.unflatten(1, (len(self), -1))

    def table(self, values: Tensor) -> list[list[float]]:
        """A number of each member as rows of learning rates, columns of seeds."""
        return values.reshape(self.rates, len(self.seeds)).tolist()
