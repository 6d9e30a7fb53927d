"""One ATen operation as it ran, with its arguments by name, and what a typed reading of it says."""
# pyright: basic

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import nn

from normscope.graph.model import Op, Site


@dataclass(slots=True)
class Draft:
    """A node while the graph is being made. `facts` are what folding needs to know beyond the operation."""

    id: str
    op: Op
    inputs: list[str]
    path: str = ""
    site: Site | None = None
    shape: tuple[int, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)


class Typed(NamedTuple):
    """The meaning of an operation, and the tensors among its arguments that it depends on."""

    op: Op
    reads: tuple[Any, ...]
    facts: dict[str, Any] = {}  # noqa: RUF012, a default that nobody changes


@dataclass(slots=True)
class Operation:
    """`args` by the names of the schema; `values` are the drafts behind argument tensors that are no constants."""

    name: str
    args: dict[str, Any]
    results: list[torch.Tensor]
    values: dict[int, Draft]
    is_weight: Callable[[torch.Tensor], bool]
    parameter: Callable[[torch.Tensor], str]  # its path, empty for what is none
    mask: Callable[[torch.Tensor], float | None]
    instance_norm: bool = False
    module: nn.Module | None = None  # that runs it

    def value(self, tensor: object) -> Draft | None:
        """What made the tensor; None for a constant."""
        return self.values.get(id(tensor))

    def __getitem__(self, name: str) -> Any:
        return self.args.get(name)

    def first(self, *names: str) -> Any:
        """The first argument by any of these names."""
        return next((self.args[n] for n in names if n in self.args), None)


class Signature(NamedTuple):
    name: str  # of the ATen function, without the overload and the mark of the in-place form
    parameters: tuple[str, ...]
    defaults: dict[str, Any]
    written: frozenset[str]


@cache
def signature(func: Any) -> Signature:
    """What the schema says; a higher-order operator has none."""
    schema = getattr(func, "_schema", None)
    if schema is None:
        return Signature(str(func), (), {}, frozenset())
    name = schema.name.split("::")[-1]
    if len(name) > 1 and name.endswith("_"):
        name = name.rstrip("_")
    return Signature(
        name,
        tuple(a.name for a in schema.arguments),
        {a.name: a.default_value for a in schema.arguments if a.has_default_value()},
        frozenset(
            a.name for a in schema.arguments if a.alias_info is not None and a.alias_info.is_write
        ),
    )


def bind(sig: Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments by name; those of an operator without a schema by position."""
    names = sig.parameters or tuple(str(i) for i in range(len(args)))
    return {**sig.defaults, **dict(zip(names, args, strict=False)), **kwargs}


def flat(value: Any, depth: int = 3) -> Iterator[torch.Tensor]:
    """Tensors in an argument or a result: operators nest only lists and tuples."""
    if isinstance(value, torch.Tensor):
        yield value
    elif depth and isinstance(value, (list, tuple)):
        for part in value:
            yield from flat(part, depth - 1)


def shape_of(tensor: torch.Tensor) -> tuple[int, ...]:
    return tuple(int(n) for n in tensor.shape)
