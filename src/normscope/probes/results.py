"""The answers of probes: plain values that the store keeps and rules read. Imports no framework."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from normscope.finding import Confidence


class Reading(msgspec.Struct, frozen=True):
    """A number with its standard error, in the unit of the probe that took it."""

    value: float
    noise: float


class LayerGap(msgspec.Struct, frozen=True):
    """How far one layer's running statistics are from recomputed ones, and what that costs.

    `mean_shift` is the rms over channels of |running mean − population mean| / population sd, `log_sd`
    the rms of ln(running sd / population sd); `floor` is what two halves of the data differ by in the
    same measure. `share` is the part of C − B that this layer alone accounts for, by giving it recomputed statistics
    while all others keep their running ones; `low` and `high` bound it with 95 % confidence, where the data allow that.
    """

    layer: int
    path: str
    mean_shift: float
    log_sd: float
    floor: float
    share: float
    low: float | None = None
    high: float | None = None


class Scores(msgspec.Struct, frozen=True):
    """A metric of the user's own, in its own unit, under A, B, C and on held-out data (D)."""

    batch: Reading
    population: Reading
    running: Reading
    held_out: Reading | None = None


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """The gap probe on one model: fixed weights, dropout off, the same training data.

    `measure` is `loss` (nats or the loss's own unit), `error` (share of wrong arg-max decisions against kept
    targets) or `output` (no targets: rms distance to the outputs under recomputed statistics, in units of their sd;
    then `population` is the distance between outputs under the statistics of the two halves).
    A `batch`, B `population`, C `running`. `stale` = C − B and `inconsistent` = B − A, each with the
    noise of the paired difference. `disagreement` is the share of samples whose arg-max differs between C and B.
    """

    model: int
    name: str
    measure: Literal["loss", "error", "output"]
    unit: str
    samples: int
    batches: int
    batch: Reading
    population: Reading
    running: Reading
    stale: Reading
    inconsistent: Reading
    disagreement: float | None = None
    disagreement_floor: float | None = (
        None  # the same between the two halves' recomputed statistics
    )
    error_batch: float | None = (
        None  # shares of wrong arg-max decisions, where class targets were kept
    )
    error_population: float | None = None
    error_running: float | None = None
    stale_error: Reading | None = None  # C − B in those shares, with the noise of the pairs
    inconsistent_error: Reading | None = None  # B − A likewise
    coupling: float | None = (
        None  # eval mode: rms change of a sample's output with its batch mates, in output sds
    )
    coupled_layers: tuple[str, ...] = ()  # that used batch statistics in eval mode
    corrected_layers: tuple[
        str, ...
    ] = ()  # renormalizing, by averages of another momentum than that of the running statistics
    layers: tuple[LayerGap, ...] = ()
    held_out: Reading | None = None  # D: running statistics on data that it was not trained on
    generalization: Reading | None = None  # D − C
    error_held_out: float | None = None
    metric: Scores | None = None
    relied_on: bool | None = (
        None  # whether the script evaluates it with running statistics; None: unknown
    )
    confidence: Confidence = "medium"
    note: str = ""


def gap_of(answers: Iterable[object], model: int) -> Gap | None:
    """The gap probe's answer for that model, None when it was not probed."""
    return next((a for a in answers if isinstance(a, Gap) and a.model == model), None)
