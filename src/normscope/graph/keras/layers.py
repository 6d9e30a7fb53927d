# pyright: basic
"""Where the layers of a model stand: their names from the model down, as Keras' own `Layer.path` has them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def paths_in(model: Any) -> Iterator[tuple[str, Any]]:
    """Every layer inside, once, with the names that lead to it; the model itself is not among them."""
    seen = {id(model)}

    def walk(parent: Any, prefix: str) -> Iterator[tuple[str, Any]]:
        for child in children_of(parent):
            if id(child) not in seen:
                seen.add(id(child))
                path = f"{prefix}/{child.name}" if prefix else child.name
                yield path, child
                yield from walk(child, path)

    yield from walk(model, "")


def children_of(layer: Any) -> list[Any]:
    """The layers that it holds, in the order that it took them up."""
    return list(getattr(layer, "_layers", ()))
