"""Batch norm exchanged for another normalization, or for none, with everything kept that can be kept."""

from normscope.repairs.convert.converting import convert
from normscope.repairs.convert.targets import TARGETS

__all__ = ["TARGETS", "convert"]
