"""The time that a probe is granted, and what it says when that is not enough."""

from __future__ import annotations

import math

from normscope.errors import NormscopeError

PATIENCE = 3  # times the granted seconds that the smallest useful probe may take


def refuse_beyond(needed: float, seconds: float) -> None:
    """Raises NormscopeError where the smallest useful probe needs more than `PATIENCE` times the granted seconds."""
    if needed > PATIENCE * seconds:
        enough = math.ceil(needed / PATIENCE / 10) * 10
        about = f"{needed:.0f}" if needed >= 1 else f"{needed:.2g}"
        raise NormscopeError(
            f"asking it would take about {about} seconds, which is more than {PATIENCE} times the {seconds:g} that "
            f"are granted; grant {enough} or more (`--seconds {enough}`)"
        )
