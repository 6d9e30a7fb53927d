"""The norm layers of one architecture in two frameworks, side by side. Imports no framework."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Side:
    """One norm layer. `momentum` is the weight of the new batch; arrays of shape (channels,), None where it has none."""

    path: str
    kind: str
    channels: int
    eps: float
    momentum: float | None
    scale: Values | None = None
    shift: Values | None = None
    mean: Values | None = None
    var: Values | None = None

    @property
    def arrays(self) -> dict[str, Values]:
        """What it stores, by Keras' names."""
        named = {
            "gamma": self.scale,
            "beta": self.shift,
            "moving_mean": self.mean,
            "moving_variance": self.var,
        }
        return {name: a for name, a in named.items() if a is not None}


@dataclass(frozen=True, slots=True)
class Port:
    """Norm layers of a PyTorch and of a Keras model, in the order in which each model holds them."""

    model: int
    name: str
    torch: tuple[Side, ...]
    keras: tuple[Side, ...]

    @property
    def pairs(self) -> tuple[tuple[Side, Side], ...]:
        """One by one; none where the two do not hold the same row of layers."""
        if [(s.kind, s.channels) for s in self.torch] != [(s.kind, s.channels) for s in self.keras]:
            return ()
        return tuple(zip(self.torch, self.keras, strict=True))
