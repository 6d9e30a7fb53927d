"""The observer for Keras 3: what a run does, whichever backend computes it, seen without changing it."""

from normscope.record.keras.observer import Observer, active, observe

__all__ = ["Observer", "active", "observe"]
