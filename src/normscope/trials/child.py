"""In the process of the script: seeds and arm are set up when it imports what they concern, and the outcome is kept.

With the seed's offset at 0 and the arm `as-is` nothing of the script's is touched.
"""

from __future__ import annotations

import atexit
from pathlib import Path

from normscope.session.imports import ImportWatch

TYPE_CHECKING = False  # as `typing` has it, without importing that
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any


def start(order: dict[str, Any]) -> None:
    """`order` has outcome (a path), arm (kind, value), offset, and steps: those of the unchanged run, None if unknown."""
    from normscope.trials import outcome, seeding

    run = outcome.begin(Path(order["outcome"]))
    atexit.register(lambda: run.write(ended=True))
    kind, value = order["arm"]
    offset: int = order["offset"]
    seeding.of_python(offset)

    def numpy(module: ModuleType) -> None:
        seeding.of_numpy(module, offset)

    def torch(module: ModuleType) -> None:
        seeding.of_torch(module, offset)
        from normscope.trials.torch.arming import arm

        arm(kind, value, order["steps"], run)

    for name, then in (("numpy", numpy), ("torch", torch)):
        ImportWatch(name, then).install()
