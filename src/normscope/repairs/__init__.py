"""Repairs: each says what it needs, changes one thing, and hands back a Certificate of what that did."""

from __future__ import annotations

TYPE_CHECKING = False  # as `typing` has it, without importing that
if TYPE_CHECKING:
    from normscope.repairs.batchnorm_folding import fold_batchnorm
    from normscope.repairs.batchnorm_removal import remove_batchnorm
    from normscope.repairs.certificate import Certificate
    from normscope.repairs.conversion import convert
    from normscope.repairs.gamma_reset import reset_gamma
    from normscope.repairs.momentum import set_momentum
    from normscope.repairs.norm_placement import move_before_addition
    from normscope.repairs.recalibration import recalibrate
    from normscope.repairs.redundant_bias import fold_redundant_bias
    from normscope.repairs.weight_decay import weight_decay_groups

__all__ = [
    "Certificate",
    "convert",
    "fold_batchnorm",
    "fold_redundant_bias",
    "move_before_addition",
    "recalibrate",
    "remove_batchnorm",
    "reset_gamma",
    "set_momentum",
    "weight_decay_groups",
]

# No module has the name of its function: importing the one would hide the other.
_HOMES = {
    "Certificate": "certificate",
    "convert": "conversion",
    "fold_batchnorm": "batchnorm_folding",
    "fold_redundant_bias": "redundant_bias",
    "move_before_addition": "norm_placement",
    "recalibrate": "recalibration",
    "remove_batchnorm": "batchnorm_removal",
    "reset_gamma": "gamma_reset",
    "set_momentum": "momentum",
    "weight_decay_groups": "weight_decay",
}


def __getattr__(name: str) -> object:
    # Lazy: the table of repairs and certificates are read where no framework is wanted.
    if name in _HOMES:
        import importlib

        home = importlib.import_module(f"normscope.repairs.{_HOMES[name]}")
        return getattr(home, name)
    raise AttributeError(f"module `normscope.repairs` has no attribute `{name}`")
