# pyright: basic
"""PyTorch, which compares what the probes measured, imported when a script on another backend has ended."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import weakref


def import_torch() -> None:
    """Import PyTorch if it is installed and was not imported; its own finalizers are let go.

    They are registered too late for Python to run them in order, and would complain when modules are taken down.
    """
    if "torch" in sys.modules or importlib.util.find_spec("torch") is None:
        return
    registry: dict[weakref.finalize, object] = getattr(weakref.finalize, "_registry", {})
    before = set(registry)
    importlib.import_module("torch")
    for finalizer in set(registry) - before:
        finalizer.detach()
