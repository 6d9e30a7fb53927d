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

from normscope.trials.patches import Patches


class Factor:
    """Multiplies an entry of every parameter group during each step, and gives it back after it.

    So the script and its schedulers read and write the value that they know. An optimizer around another one shares its groups:
    only the outermost step changes them. `changed` counts groups whose value was other than 0.
    """

    def __init__(self, entry: str, factor: float) -> None:
        self.entry, self.factor = entry, factor
        self._changed: set[int] = set()
        # By the identity of a group: the optimizer whose step changed it, the group, and the value before.
        self._kept: dict[int, tuple[object, dict[str, Any], Any]] = {}

    @property
    def changed(self) -> int:
        return len(self._changed)

    def install(self, patches: Patches) -> None:
        patches.then(register_optimizer_step_pre_hook(self._before).remove)
        patches.then(register_optimizer_step_post_hook(self._after).remove)

    def _before(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        self._after(optimizer)  # a step that raised never came to its end
        for group in optimizer.param_groups:
            value = group.get(self.entry)
            if value is None or id(group) in self._kept:
                continue
            self._kept[id(group)] = (optimizer, group, value)
            group[self.entry] = value * self.factor
            if value:
                self._changed.add(id(group))

    def _after(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for key, (owner, group, value) in list(self._kept.items()):
            if owner is optimizer:
                group[self.entry] = value
                del self._kept[key]


class Steps:
    """Counts the steps of all optimizers, and calls back once when a number is reached."""

    def __init__(self, at: int | None = None, then: Callable[[], None] | None = None) -> None:
        self.count = 0
        self._at, self._then = at, then

    def install(self, patches: Patches) -> None:
        patches.then(register_optimizer_step_post_hook(self._after).remove)

    def _after(self, *_: Any) -> None:
        self.count += 1
        if self._then is not None and self._at is not None and self.count >= self._at:
            then, self._then = self._then, None
            then()


def before_build(then: Callable[[], None], patches: Patches) -> None:
    """Call `then` whenever an optimizer is about to be built."""
    init = torch.optim.Optimizer.__init__

    def built(self: Any, *args: Any, **kwargs: Any) -> None:
        then()
        init(self, *args, **kwargs)

    patches.set(torch.optim.Optimizer, "__init__", built)
