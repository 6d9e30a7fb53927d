"""How rules word what they found."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Protocol

from normscope.graph.model import Site

SHOWN = 3


class Placed(Protocol):
    """A layer, or anything else that has a path in its model."""

    @property
    def path(self) -> str: ...


def batch_norms(count: int) -> str:
    """`1 batch norm`, `3 batch norms`."""
    return "1 batch norm" if count == 1 else f"{count} batch norms"


def named(layers: Iterable[Placed]) -> str:
    """The paths of the first three layers; a function that no module calls goes by its name and line."""
    names = [f"`{_name(x)}`" for x in islice(layers, SHOWN + 1)]
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")


def _name(layer: Placed) -> str:
    if layer.path:
        return layer.path
    kind: object = getattr(layer, "type", "model")
    site: object = getattr(layer, "site", None)
    return f"{kind} at {site}" if isinstance(site, Site) else str(kind)
