# pyright: basic
"""Loss and learning rate over steps, as many as the purse affords and the file should hold."""

from __future__ import annotations

import math
import weakref
from typing import Any

import torch

from normscope.record.store import Store

MOST = 4096


class ScalarSeries:
    """Takes the tensor that `backward` starts from; a scaled loss counts with the value it had before scaling."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._stride = 1
        self._steps: list[int] = []
        self._loss: torch.Tensor | None = None
        self._scaled: tuple[Any, torch.Tensor] | None = None

    def on_scaled(self, loss: Any, scaled: Any) -> None:
        if isinstance(loss, torch.Tensor) and isinstance(scaled, torch.Tensor):
            self._scaled = (weakref.ref(scaled), loss.detach())

    def on_backward(self, tensors: Any) -> None:
        loss = tensors[0] if isinstance(tensors, (list, tuple)) and tensors else tensors
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
            return
        if self._scaled is not None and self._scaled[0]() is loss:
            loss = self._scaled[1]
        self._loss = loss.detach()

    def due(self, step: int) -> bool:
        return self._loss is not None and step % self._stride == 0

    def take(self, step: int, optimizer: torch.optim.Optimizer | None) -> None:
        """Keep the latest loss under `step`. Reading it waits for the device."""
        if self._loss is None:
            return
        lr = optimizer.param_groups[0].get("lr", math.nan) if optimizer else math.nan
        self.store.put_scalar(step, float(self._loss), float(lr))
        self._loss = None
        self._steps.append(step)
        if len(self._steps) >= MOST:
            self._stride *= 2
            dropped = [s for s in self._steps if s % self._stride]
            self._steps = [s for s in self._steps if s % self._stride == 0]
            self.store.drop_scalars(dropped)
