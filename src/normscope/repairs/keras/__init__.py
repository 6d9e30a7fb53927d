"""Repairs of Keras models."""

from normscope.repairs.keras.recalibration import recalibrate

__all__ = ["recalibrate"]
