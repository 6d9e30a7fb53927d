# pyright: basic
"""How much of each sigmoid and tanh lies where its slope is gone."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch

from normscope.probes.observations import Saturation

# The slope is a hundredth of the steepest: tanh'(2.993) = 0.01, and sigmoid(x) = (1 + tanh(x/2))/2.
BOUNDS = {"tanh": 2.993, "sigmoid": 5.986}
ALWAYS = 0.99


class Saturations:
    """Counts ends by call: `call` is a handle for `visit.Calls`."""

    def __init__(self, running: list[str]) -> None:
        self.running = running
        self._counting = True
        self._seen: Counter[tuple[str, str]] = Counter()
        self._counts: dict[tuple[str, str, int], tuple[torch.Tensor, torch.Tensor, int]] = {}

    def begin(self, *, counting: bool) -> None:
        """A new forward pass, of a batch that is counted or not."""
        self._seen.clear()
        self._counting = counting

    def call(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        x = args[0] if args else kwargs.get("input")
        if (
            self._counting
            and name in BOUNDS
            and isinstance(x, torch.Tensor)
            and x.ndim >= 2
            and x.is_floating_point()
        ):
            self._count(name, x.detach())
        return func(*args, **kwargs)

    def _count(self, name: str, x: torch.Tensor) -> None:
        path = self.running[-1] if self.running else ""
        key = (path, name, self._seen[path, name])
        self._seen[path, name] += 1
        units = x.transpose(0, 1).flatten(1)
        high = (units > BOUNDS[name]).sum(1).cpu()
        low = (units < -BOUNDS[name]).sum(1).cpu()
        before = self._counts.get(key)
        if before is None:
            self._counts[key] = (high, low, units.shape[1])
        elif before[0].shape == high.shape:
            self._counts[key] = (before[0] + high, before[1] + low, before[2] + units.shape[1])

    def answer(self) -> tuple[Saturation, ...]:
        return tuple(
            Saturation(
                path,
                name,
                index,
                saturated=float((high + low).double().mean()) / n,
                stuck=float((torch.maximum(high, low) >= ALWAYS * n).double().mean()),
            )
            for (path, name, index), (high, low, n) in self._counts.items()
        )
