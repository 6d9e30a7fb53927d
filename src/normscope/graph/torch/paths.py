"""Which module is which: a path for every module that a forward pass may run."""
# pyright: basic

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from normscope.graph.torch import contents

_OWN = set(vars(nn.Module()))  # bookkeeping that every module has


class Paths:
    """Paths of registered modules, of those hidden in plain containers, and of those met only while running."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._paths = {id(m): path for path, m in contents.named_modules(model)}
        self._met: list[nn.Module] = []  # keeps them alive: an id names only living objects
        waiting = [(path, m) for path, m in contents.named_modules(model)]
        while waiting:
            path, module = waiting.pop()
            for name, hidden in _hidden(module):
                for below, m in contents.named_modules(hidden, f"{path}.{name}".lstrip(".")):
                    if id(m) not in self._paths:
                        self._paths[id(m)] = below
                        self._met.append(m)
                        waiting.append((below, m))

    def __contains__(self, module: nn.Module) -> bool:
        return id(module) in self._paths

    def of(self, running: list[nn.Module]) -> str:
        """The path of the innermost of nested running modules (innermost first).

        A module that was built during the forward pass is named after its class, below the module that runs it:
        `block.BatchNorm2d()`, the second one `block.BatchNorm2d()2`. Modules around the model do not count.
        """
        known = next((i for i, m in enumerate(running) if m in self), None)
        if known is None:
            return ""
        path = self._paths[id(running[known])]
        for module in reversed(running[:known]):
            stem = f"{path}.{type(module).__name__}()".lstrip(".")
            taken = set(self._paths.values())
            path = next(p for p in _numbered(stem) if p not in taken)
            self._paths[id(module)] = path
            self._met.append(module)
        return path

    def uncalled(self, ran: set[str], parameters_read: set[int]) -> tuple[str, ...]:
        """Paths of modules that own parameters of which none was read, and that ran no operation."""
        return tuple(
            path
            for path, m in contents.named_modules(self.model)
            if (own := [id(p) for p in contents.parameters(m, recurse=False)])
            and path not in ran
            and not parameters_read.intersection(own)
        )


def _numbered(stem: str) -> Iterator[str]:
    yield stem
    n = 2
    while True:
        yield f"{stem}{n}"
        n += 1


def _hidden(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Modules in plain attributes, lists, tuples and dictionaries, two levels deep."""
    for name, value in vars(module).items():
        if name not in _OWN:
            yield from _modules_in(name, value, 2)


def _modules_in(name: str, value: Any, depth: int) -> Iterator[tuple[str, nn.Module]]:
    if isinstance(value, nn.Module):
        yield name, value
    elif depth and isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from _modules_in(f"{name}[{i}]", item, depth - 1)
    elif depth and isinstance(value, dict):
        for key, item in value.items():
            yield from _modules_in(f"{name}[{key!r}]", item, depth - 1)
