"""The line of a finding that no line of a forward pass belongs to: where its layer was built, else its factory."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial
from types import CodeType
from typing import Any

from normscope.diagnosis import Diagnosis
from normscope.finding import Finding
from normscope.graph.model import Site


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


@cache
def shown(file: str) -> str:
    """The file as the user would name it: relative to the working directory, where it lies below."""
    try:
        return file.removeprefix(os.path.join(os.getcwd(), ""))
    except OSError:  # it was deleted: every file is shown in full
        return file
