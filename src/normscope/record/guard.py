# pyright: basic
"""The guard around every entry point: an error of ours makes the observer inert and does not reach the user's code."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


def guarded(method: Callable[..., Any]) -> Callable[..., Any]:
    """Run an entry point of a part of the observer so that no error of ours leaves it."""

    @functools.wraps(method)
    def entry(self: Any, *args: Any) -> Any:
        try:
            return method(self, *args)
        except Exception as error:  # noqa: BLE001
            self.observer.fail(error)
            return None

    return entry
