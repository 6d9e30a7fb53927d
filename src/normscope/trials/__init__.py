"""Trials: one script or function, run once per arm and seed, and compared in pairs.

`normscope trial` is for scripts; `normscope.trials.compare` for functions.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as `typing` has it, without importing that
if TYPE_CHECKING:
    from normscope.trials.functions import compare

__all__ = ["compare"]


def __getattr__(name: str) -> object:
    # Lazy: this package is imported in the process of a script, before anything of the script's.
    if name == "compare":
        from normscope.trials import functions

        return functions.compare
    raise AttributeError(f"module `normscope.trials` has no attribute `{name}`")
