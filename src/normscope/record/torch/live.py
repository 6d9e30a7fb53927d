"""The one observer that is live in this process. Patched functions look here; without one they do nothing of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from normscope.record.torch.observer import Observer

# A list, so that a patched function keeps no reference to an observer that is done.
observer: list[Observer | None] = [None]
