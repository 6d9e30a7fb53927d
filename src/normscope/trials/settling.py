"""What an arm did by the end of a run, in all frameworks of the process together. Imports no framework."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from normscope.trials.arms import AS_IS
from normscope.trials.outcome import Told

NO_FRAMEWORK = "the script imported neither PyTorch nor Keras"


class Armed(Protocol):
    """An arm in force in one framework."""

    @property
    def used(self) -> bool:
        """Whether the framework trained anything."""
        ...

    def finish(self) -> str:
        """Add what was done to the outcome; why there was nothing to do, or empty."""
        ...


def settle(kind: str, armed: Sequence[Armed], told: Told) -> None:
    """Write to `told` what the arm did, or why it is not applicable: it has to have changed something somewhere.

    The reason is that of the framework that trained; Keras may compute with PyTorch, and a script may import what it does not use.
    """
    found = [(a.used, a.finish()) for a in armed]
    if kind == AS_IS or told.reason or told.exchanged or told.changed:
        return
    of_users = [reason for used, reason in found if used and reason]
    reasons = of_users or [reason for _, reason in found if reason]
    told.reason = "; ".join(dict.fromkeys(reasons)) or NO_FRAMEWORK
