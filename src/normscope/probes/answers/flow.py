"""What flows forth and back through the depth of a model. Imports no framework."""

from __future__ import annotations

import msgspec


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """The output of one norm or activation, call number `index` of that function under its module's path.

    `mean`, `sd`, `kurtosis` (3 for a Gaussian) and `positive` (the share above 0) are of all values together. `gradient` is the
    norm of the loss's gradient with respect to the output of one batch, rms over batches; None where none flowed or there is no loss.
    """

    path: str
    function: str
    index: int
    mean: float
    sd: float
    kurtosis: float
    positive: float
    gradient: float | None = None


class WeightGradient(msgspec.Struct, frozen=True):
    """One weight of two or more dimensions: the norm of a batch's gradient, rms over batches, and its own norm."""

    path: str
    gradient: float
    weight: float


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """Batch statistics, dropout off: the state in which the model learns. Both lists are in the order of execution or of the modules."""

    model: int
    name: str
    samples: int
    batches: int
    places: tuple[Place, ...] = ()
    weights: tuple[WeightGradient, ...] = ()
