"""Population statistics of batch norms, recomputed from data."""

from normscope.repairs.recalibration.drop_in import update_bn, update_bn_stats
from normscope.repairs.recalibration.recalibrating import recalibrate

__all__ = ["recalibrate", "update_bn", "update_bn_stats"]
