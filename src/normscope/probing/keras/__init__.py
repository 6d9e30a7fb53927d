"""The probes by name, as they are asked of Keras models."""

from __future__ import annotations

from normscope.probing.keras.asking import Examination

__all__ = ["Examination"]
