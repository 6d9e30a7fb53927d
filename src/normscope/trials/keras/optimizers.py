# pyright: basic
"""Learning rates and weight decays of Keras optimizers times a factor, whatever schedule sets them; and the count of steps."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import keras

from normscope.trials.patches import Patches

BASE: Any = next(c for c in keras.optimizers.Optimizer.__mro__ if "apply" in vars(c))


class Updates:
    """Sees every update that a Keras optimizer makes: `around(optimizer)` is the context that it is made in, `after()` follows it.

    `count` of them; a backend that compiles the step shows it once, as it is traced.
    """

    def __init__(self) -> None:
        self.count = 0
        self.around: Callable[[Any], AbstractContextManager[object]] = nullcontext
        self.after: Callable[[], object] = lambda: None

    def install(self, patches: Patches) -> None:
        apply = BASE.apply
        updates = self

        def seen(self: Any, *args: Any, **words: Any) -> Any:
            with updates.around(self):
                done = apply(self, *args, **words)
            updates.count += 1
            updates.after()
            return done

        patches.set(BASE, "apply", seen)


class Factor:
    """Multiplies an entry during each update alone, so that the script and its callbacks read and write the value that they know.

    `changed` counts the optimizers whose value was there to be changed.
    """

    def __init__(self, entry: str, factor: float) -> None:
        self.entry, self.factor = entry, factor
        self._within: list[Any] = []
        self._changed: weakref.WeakSet[Any] = weakref.WeakSet()
        self.changed = 0

    def install(self, patches: Patches, updates: Updates) -> None:
        updates.around = self._around
        if self.entry != "learning_rate":
            return
        rate = BASE._get_current_learning_rate
        factor = self

        def scaled(self: Any) -> Any:
            value = rate(self)
            return value * factor.factor if any(o is self for o in factor._within) else value

        patches.set(BASE, "_get_current_learning_rate", scaled)

    @contextmanager
    def _around(self, optimizer: Any) -> Iterator[None]:
        if self.entry == "learning_rate":
            self._note(optimizer)
            self._within.append(optimizer)
            try:
                yield
            finally:
                self._within.pop()
            return
        value = getattr(optimizer, self.entry, None)
        if not value:
            yield
            return
        self._note(optimizer)
        setattr(optimizer, self.entry, value * self.factor)
        try:
            yield
        finally:
            setattr(optimizer, self.entry, value)

    def _note(self, optimizer: Any) -> None:
        if optimizer not in self._changed:
            self._changed.add(optimizer)
            self.changed += 1
