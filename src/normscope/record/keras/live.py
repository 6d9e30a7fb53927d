"""The observer that is live in this process, where the wrappers look for it; None when there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from normscope.record.keras.observer import Observer

observer: list[Observer | None] = [None]
