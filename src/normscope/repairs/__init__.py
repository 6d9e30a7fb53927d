"""Repairs: each says what it needs, changes one thing, and hands back a Certificate of what that did."""

from __future__ import annotations

TYPE_CHECKING = False  # as `typing` has it, without importing that
if TYPE_CHECKING:
    from normscope.repairs.certificate import Certificate
    from normscope.repairs.recalibration import recalibrate

__all__ = ["Certificate", "recalibrate"]

_HOMES = {
    "Certificate": "normscope.repairs.certificate",
    "recalibrate": "normscope.repairs.recalibration",
}


def __getattr__(name: str) -> object:
    # Lazy: the table of repairs and certificates are read where no framework is wanted.
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module `normscope.repairs` has no attribute `{name}`")
