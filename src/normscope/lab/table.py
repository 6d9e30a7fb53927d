"""The claims in the order of the page: exact ones, what a few batches show, trainings."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module

from normscope.errors import NormscopeError, did_you_mean
from normscope.lab.claim import Claim

NAMES = (
    "redundant-bias",
    "identity",
    "one-operation",
    "running-averages",
    "momentum",
    "forgotten-eval",
    "gradient-depth",
    "depth-trainability",
    "saturation",
    "positive-share",
    "poor-initialization",
    "overwritten-gamma",
    "zero-gamma",
    "small-batch",
    "batch-32",
    "layer-norm-batch",
    "group-norm-batch",
    "removing-norm",
    "relu-order",
    "addition-order",
    "layer-depth",
    "learning-rates",
    "dropout-order",
    "over-regularization",
    "weight-decay",
    "overfitting",
    "skewed-features",
    "recurrent",
    "covariate-shift",
    "smoothness",
    "xavier-he",
    "downstream-shift",
    "resnet-block",
    "simple-cnn",
)


@cache
def of_name(name: str) -> Claim:
    """Raises NormscopeError for an unknown one."""
    if name not in NAMES:
        raise NormscopeError(
            f"The lab has no claim `{name}`.{did_you_mean(name, NAMES)} `normscope lab` lists them."
        )
    try:
        module = import_module(f"normscope.lab.claims.{name.replace('-', '_')}")
    except ModuleNotFoundError as error:
        raise NormscopeError(
            f"The lab needs {error.name}, which is missing: `pip install 'normscope[lab]'`."
        ) from None
    return module.CLAIM


def chosen(names: Sequence[str]) -> list[Claim]:
    """Those named, in the order of the page; all without a name."""
    for name in names:
        of_name(name)
    return [of_name(n) for n in NAMES if not names or n in names]
