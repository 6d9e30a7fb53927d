# pyright: basic
"""Where the layers of a model were built: the line of a finding that no line of a forward pass belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook

from normscope.graph.model import Site
from normscope.graph.torch.location import users_line

Origins = Mapping[nn.Module, Site]


@contextmanager
def origins() -> Iterator[Origins]:
    """The user's line that put each module into the one that holds it, for modules built inside the context."""
    known: WeakKeyDictionary[nn.Module, Site] = WeakKeyDictionary()

    def registered(_: nn.Module, __: str, module: nn.Module | None) -> None:
        if module is not None and module not in known and (site := users_line()):
            known[module] = site

    hook = register_module_module_registration_hook(registered)
    try:
        yield known
    finally:
        hook.remove()
