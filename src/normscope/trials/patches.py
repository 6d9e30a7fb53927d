"""What was changed in the libraries of a process, so that it can be taken back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_MISSING: Any = object()


class Patches:
    """Undone in reverse order. The process of a script never undoes them; a function's run does."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], object]] = []

    def set(self, owner: Any, name: str, value: Any) -> None:
        """Put `value` in the place of an attribute. What the owner had by inheritance only, it has so again afterwards."""
        held: dict[str, Any] = getattr(owner, "__dict__")  # noqa: B009  what `owner` is, is not known
        before = held.get(name, _MISSING)
        setattr(owner, name, value)
        if before is _MISSING:
            self.then(lambda: delattr(owner, name))
        else:
            self.then(lambda: setattr(owner, name, before))

    def then(self, undo: Callable[[], object]) -> None:
        """What takes something back, such as a handle's `remove`."""
        self._undo.append(undo)

    def undo(self) -> None:
        while self._undo:
            self._undo.pop()()
