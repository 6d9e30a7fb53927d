"""The tensors inside any value that a model takes or returns."""
# pyright: basic

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from types import ModuleType
from typing import Any

import torch
from torch import nn

MAX_DEPTH = 8


def tensors_of(value: object) -> Iterator[torch.Tensor]:
    """Every tensor in nested sequences, mappings, dataclasses and plain objects, once each, in order.

    Looks at most `MAX_DEPTH` containers deep; does not enter modules, classes or functions.
    """
    yield from _walk(value, MAX_DEPTH, {})


def is_named_tuple(value: object) -> bool:
    """Whether a class made by `NamedTuple` or `namedtuple` holds it; not one derived from such a class, as PackedSequence is."""
    return type(value).__bases__ == (tuple,) and hasattr(type(value), "_fields")


def like(sequence: Any, parts: Iterable[Any]) -> Any:
    """The parts in a list, tuple or named tuple of the same class."""
    kind = type(sequence)
    return tuple.__new__(kind, parts) if issubclass(kind, tuple) else kind(parts)


def _walk(value: Any, depth: int, seen: dict[int, object]) -> Iterator[torch.Tensor]:
    if isinstance(value, (str, bytes, int, float, complex, type(None))) or id(value) in seen:
        return
    seen[id(value)] = value  # kept alive, so that no later object can have the same id
    if isinstance(value, torch.Tensor):
        yield value
    elif depth:
        for part in _parts(value):
            yield from _walk(part, depth - 1, seen)


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from value
    elif isinstance(value, (type, ModuleType, nn.Module)) or callable(value):
        return
    elif is_dataclass(value):
        yield from (getattr(value, f.name, None) for f in fields(value))
    else:
        yield from getattr(value, "__dict__", {}).values()
