"""Tell when a module was imported, without importing it and without a trace on it."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # as `typing` has it, without importing that
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType


class ImportWatch:
    """Calls `then()` once after the named module ran for the first time; stays silent when the import fails.

    A finder in front of `sys.meta_path` lets the others find the module and lends its loader, an object of
    this one import, an `exec_module` that takes itself away before the real one runs.
    """

    def __init__(self, name: str, then: Callable[[ModuleType], None]) -> None:
        self.name = name
        self._then = then

    def install(self) -> None:
        """Call at once when the module is there already."""
        if loaded := sys.modules.get(self.name):
            self._then(loaded)
        else:
            sys.meta_path.insert(0, self)

    def remove(self) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        for finder in sys.meta_path:
            find = None if finder is self else getattr(finder, "find_spec", None)
            if find is not None and (found := find(fullname, path, target)) is not None:
                if hasattr(found.loader, "exec_module"):
                    self._lend(found.loader)
                return found
        return None

    def _lend(self, loader: object) -> None:
        def exec_module(module: ModuleType) -> None:
            del loader.exec_module  # type: ignore[attr-defined]
            loader.exec_module(module)  # type: ignore[attr-defined]
            self.remove()
            self._then(module)

        # A loader that takes no attribute is left alone: then this module goes unobserved.
        if hasattr(loader, "__dict__"):
            loader.exec_module = exec_module  # type: ignore[attr-defined]
