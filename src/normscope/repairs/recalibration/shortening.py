# pyright: basic
"""What need not run: of a chain of modules, those behind the last batch norm that is to be recomputed."""

from __future__ import annotations

from collections.abc import Callable, Collection

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class Shortening:
    """Finds out, from `with` to `chain`, during one whole forward pass, whether the rest of a chain leaves the norms alone.

    Only `nn.Sequential` itself is known to run its parts in order and to do nothing else: any other forward pass may take
    a way that depends on the batch. `called` tells how often the norms were called so far.
    """

    def __init__(
        self, model: nn.Module, norms: Collection[_BatchNorm], called: Callable[[], int]
    ) -> None:
        self._parts = _needed(model, {*norms})
        self._called = called
        self._at_the_end: list[int] = []
        self._handle = None

    def __enter__(self) -> Shortening:
        if self._parts is not None:
            self._handle = self._parts[-1].register_forward_hook(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            self._handle.remove()

    def _note(self, *_: object) -> None:
        self._at_the_end.append(self._called())

    def chain(self) -> nn.Sequential | None:
        """The parts that are needed. None where all are, and where one of the rest called a norm that it does not hold."""
        self.__exit__()
        if self._parts is None or self._at_the_end != [self._called()]:
            return None
        return nn.Sequential(*self._parts)


def _needed(model: nn.Module, norms: set[_BatchNorm]) -> list[nn.Module] | None:
    """The parts of a chain up to the last that holds any of the norms, chains in it opened; None where nothing is left out."""
    if not _is_plain_chain(model):
        return None
    every = [*model._modules.values()]
    parts: list[nn.Module] = [m for m in every if m is not None]
    while parts and norms.isdisjoint(parts[-1].modules()):  # pyright: ignore[reportArgumentType]
        parts.pop()
    if not parts:
        return None
    within = _needed(parts[-1], norms)
    if within is not None:
        return [*parts[:-1], *within]
    return parts if len(parts) < len(every) else None


def _is_plain_chain(model: nn.Module) -> bool:
    """A hook may change what goes in or comes out, or call a norm itself."""
    return (
        isinstance(model, nn.Sequential)
        and type(model).forward is nn.Sequential.forward
        and "forward" not in vars(model)
        and not (model._forward_pre_hooks or model._forward_hooks)
    )
