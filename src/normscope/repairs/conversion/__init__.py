"""Batch norm exchanged for another normalization, or for none, with everything kept that can be kept."""

from normscope.repairs.conversion.converting import convert
from normscope.repairs.conversion.targets import TARGETS

__all__ = ["TARGETS", "convert"]
