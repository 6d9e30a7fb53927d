# pyright: basic
"""Learning rates and weight decays times a factor, whatever schedule sets them; and the count of steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)


class Factor:
    """Multiplies an entry of every parameter group during each step, and gives it back after it.

    So the script and its schedulers read and write the value that they know. `changed` counts groups whose value was
    not 0 to begin with.
    """

    def __init__(self, entry: str, factor: float) -> None:
        self.entry, self.factor = entry, factor
        self.changed = 0
        self._kept: list[tuple[dict[str, Any], Any]] = []

    def install(self) -> None:
        register_optimizer_step_pre_hook(self._before)
        register_optimizer_step_post_hook(self._after)

    def _before(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for group in optimizer.param_groups:
            value = group.get(self.entry)
            if value is None:
                continue
            self._kept.append((group, value))
            group[self.entry] = value * self.factor
            self.changed += bool(value)

    def _after(self, *_: Any) -> None:
        for group, value in self._kept:
            group[self.entry] = value
        self._kept.clear()


class Steps:
    """Counts the steps of all optimizers, and calls back once when a number is reached."""

    def __init__(self, at: int | None = None, then: Callable[[], None] | None = None) -> None:
        self.count = 0
        self._at, self._then = at, then

    def install(self) -> None:
        register_optimizer_step_post_hook(self._after)

    def _after(self, *_: Any) -> None:
        self.count += 1
        if self._then is not None and self._at is not None and self.count >= self._at:
            then, self._then = self._then, None
            then()


def before_build(then: Callable[[], None]) -> None:
    """Call `then` whenever an optimizer is about to be built."""
    init = torch.optim.Optimizer.__init__

    def built(self: Any, *args: Any, **kwargs: Any) -> None:
        then()
        init(self, *args, **kwargs)

    torch.optim.Optimizer.__init__ = built
