# pyright: basic
"""Other `call` methods for chosen layers of a Keras model, for a while: whoever made them, subclasses with a `call` of their own included."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

Call = Callable[..., Any]


@contextmanager
def exchanged(layers: Iterable[Any], make: Callable[[Any, Call], Call]) -> Iterator[None]:
    """Inside, each layer's `call` is `make(layer, its call so far)`; nested contexts see each other's."""
    before: list[tuple[Any, Call | None]] = []
    try:
        for layer in layers:
            before.append((layer, vars(layer).get("call")))
            vars(layer)["call"] = make(layer, layer.call)  # past Keras' tracking of attributes
        yield
    finally:
        for layer, call in reversed(before):
            if call is None:
                vars(layer).pop("call", None)
            else:
                vars(layer)["call"] = call
