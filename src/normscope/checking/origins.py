# pyright: basic
"""Where the layers of a model were built: the line of a finding that no line of a forward pass belongs to."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import CodeType
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook

from normscope.diagnosis import Diagnosis
from normscope.finding import Finding
from normscope.graph.model import Site
from normscope.graph.torch.location import shown, users_line

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


def defined_at(factory: Any) -> Site | None:
    """The first line of a function or class of the user's; None for whatever has none."""
    while isinstance(factory, partial):
        factory = factory.func
    factory = inspect.unwrap(factory)
    code = getattr(getattr(factory, "__func__", factory), "__code__", None)
    if isinstance(code, CodeType):
        return Site(shown(code.co_filename), code.co_firstlineno)
    try:
        file = inspect.getsourcefile(factory)
        return Site(shown(file), inspect.getsourcelines(factory)[1]) if file else None
    except (TypeError, OSError):  # no class, or one without a source
        return None


def with_places(diagnosis: Diagnosis, otherwise: Site | None) -> Diagnosis:
    """Findings without a line get that of their first layer that has one, else the factory's own."""
    layers = diagnosis.recording.layers.values()
    sites = {x.path: x.site for x in layers if x.site}
    return replace(
        diagnosis, findings=tuple(_with_place(f, sites, otherwise) for f in diagnosis.findings)
    )


def _with_place(finding: Finding, sites: Mapping[str, Site], otherwise: Site | None) -> Finding:
    if finding.site is not None:
        return finding
    first = next((sites[x] for x in finding.layers if x in sites), otherwise)
    return replace(finding, site=first)
