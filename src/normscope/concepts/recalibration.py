"""Recomputing running statistics, as the repair that several rules propose."""

from __future__ import annotations

from normscope.finding import Remedy

COMMAND = "normscope repair recalibrate file.py:setup -o weights.safetensors"


def recalibrated(model: str = "model") -> Remedy:
    """The line of code, and the command for a model that is trained already. `model` is what the line calls it."""
    return Remedy(
        "recalibrate",
        "changes-function",
        f"`normscope.recalibrate({model}, train_loader)` before evaluating, or `{COMMAND}`",
    )
