# pyright: basic
"""From judged batches under three kinds of statistics to one answer: differences paired by sample, with their noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import torch

from normscope.probes.judgement import UNITS, Judged
from normscope.probes.results import Gap, Reading, Scores

ENOUGH_SAMPLES = 1000  # Wu & Johnson 2021: 10³ to 10⁴ make recomputed statistics near-optimal
CLUSTERS = 4  # batches; below it their spread says too little
Column = list[torch.Tensor]  # one tensor a batch, one value a sample


@dataclass(frozen=True, slots=True)
class Judgements:
    """The same batches in the same order, judged under each kind of statistics.

    `population` were estimated on the other half of the batches, `own` on the half that the batch is in.
    """

    batch: list[Judged]
    population: list[Judged]
    running: list[Judged]
    own: list[Judged]


def compare(judged: Judgements, *, model: int, name: str, samples: int, loss: str | None) -> Gap:
    """The gap by loss where every batch has one, else by wrong decisions, else by the distance of outputs."""
    a, b, c, own = (
        {what: column(x, what) for what in ("loss", "wrong")}
        for x in (judged.batch, judged.population, judged.running, judged.own)
    )
    facts: dict[str, Any] = {
        "model": model,
        "name": name,
        "samples": samples,
        "batches": len(judged.batch),
    }
    if a["wrong"] and b["wrong"] and c["wrong"] and own["wrong"]:
        noise = noise_of_statistics(b["wrong"], own["wrong"])
        facts["error_batch"] = mean(a["wrong"])
        facts["error_population"] = mean(b["wrong"])
        facts["error_running"] = mean(c["wrong"])
        facts["stale_error"] = paired(c["wrong"], b["wrong"], noise)
        facts["inconsistent_error"] = paired(b["wrong"], a["wrong"], noise)
    metrics = [column(x, "metric") for x in (judged.batch, judged.population, judged.running)]
    if all(metrics):
        facts["metric"] = Scores(*(reading(m) for m in metrics if m))
    if (apart := _disagreement(judged.population, judged.running)) is not None:
        facts["disagreement"] = apart
        facts["disagreement_floor"] = _disagreement(judged.population, judged.own)
    measure: Literal["loss", "error"] = "loss" if a["loss"] else "error"
    what = "loss" if measure == "loss" else "wrong"
    xa, xb, xc, xo = a[what], b[what], c[what], own[what]
    if not (xa and xb and xc and xo):
        return _by_output(judged, facts)
    noise = noise_of_statistics(xb, xo)
    enough = samples >= ENOUGH_SAMPLES and measure == "loss"
    return Gap(
        measure=measure,
        unit=UNITS.get(loss or "", "loss") if measure == "loss" else "share of samples",
        batch=reading(xa),
        population=reading(xb),
        running=reading(xc),
        stale=paired(xc, xb, noise),
        inconsistent=paired(xb, xa, noise),
        confidence="high" if enough else "medium",
        **facts,
    )


def generalized(gap: Gap, running: list[Judged], held_out: list[Judged]) -> Gap:
    """The gap with D, the same model on data that it was not trained on, by the same measure and with the user's metric."""
    facts: dict[str, Any] = {}
    c, d = (column_of(x, gap.measure) for x in (running, held_out))
    if gap.measure != "output" and c and d:
        facts["held_out"] = reading(d)
        # Other samples: the two errors add up.
        noise = math.hypot(standard_error(c), standard_error(d))
        facts["generalization"] = Reading(mean(d) - mean(c), noise)
    if wrong := column(held_out, "wrong"):
        facts["error_held_out"] = mean(wrong)
    if gap.metric and (metric := column(held_out, "metric")):
        facts["metric"] = msgspec.structs.replace(gap.metric, held_out=reading(metric))
    return msgspec.structs.replace(gap, **facts)


def _by_output(judged: Judgements, facts: dict[str, Any]) -> Gap:
    """Without targets: how far outputs are apart, in standard deviations of the output."""
    a, own, c = (
        Reading(mean(d), standard_error(d)) if d else Reading(math.nan, math.nan)
        for d in (
            _distances(x, judged.population) for x in (judged.batch, judged.own, judged.running)
        )
    )
    floor = own.value
    return Gap(
        measure="output",
        unit="output sd",
        batch=a,
        population=own,
        running=c,
        stale=Reading(c.value - floor, max(floor, c.noise)),
        inconsistent=Reading(a.value - floor, max(floor, a.noise)),
        confidence="low" if facts["samples"] < ENOUGH_SAMPLES else "medium",
        **facts,
    )


def _distances(x: list[Judged], y: list[Judged]) -> Column | None:
    """Rms distance for each sample, in standard deviations of `y` over samples; None when shapes do not fit."""
    pairs = [
        (p.output, q.output)
        for p, q in zip(x, y, strict=True)
        if p.output is not None and q.output is not None
    ]
    if not pairs or len({t.shape[1] for pair in pairs for t in pair}) != 1:
        return None
    sd = torch.cat([q for _, q in pairs]).std(0)
    scale = sd.square().mean().sqrt().clamp_min(1e-12)
    return [(p - q).square().mean(1).sqrt() / scale for p, q in pairs]


def column_of(judged: list[Judged], measure: str) -> Column | None:
    """The values behind a gap's measure, `loss` or `error`."""
    return column(judged, "loss" if measure == "loss" else "wrong")


def column(judged: list[Judged], name: str) -> Column | None:
    found = [getattr(j, name) for j in judged]
    return None if any(v is None for v in found) else found


def reading(column: Column) -> Reading:
    return Reading(mean(column), standard_error(column))


def mean(column: Column) -> float:
    return float(torch.cat(column).mean())


def standard_error(column: Column) -> float:
    """Standard error of the mean, the larger of two estimates: from samples, and from batches as clusters.

    Samples of one batch hang together where they share statistics. A deviation that was itself estimated from few
    values is widened to that of Student's t, √(n − 1)/(n − 3): three of them are then passed by chance in less than
    1 of 100 cases, from 4 batches on.
    """
    by_sample = _error(torch.cat(column))
    if len(column) < CLUSTERS:
        return by_sample
    whole = torch.cat(column).mean()
    # Each batch's weight is its number of samples: the last one may be short.
    size = sum(len(v) for v in column) / len(column)
    sums = torch.stack([(v - whole).sum() / size for v in column])
    return max(by_sample, _error(sums))


def _error(values: torch.Tensor) -> float:
    n = len(values)
    if n < 2:
        return math.nan
    widened = math.sqrt((n - 1) / (n - 3)) if n > 3 else math.sqrt(3.0)
    return float(values.std()) / math.sqrt(n) * widened


def paired(x: Column, y: Column, noise: float) -> Reading:
    """Mean of x − y by sample. Its noise is that of the samples, and `noise` that all of them share."""
    difference = [p - q for p, q in zip(x, y, strict=True)]
    return Reading(mean(difference), math.hypot(standard_error(difference), noise))


def half_of(i: int) -> int:
    """0 or 1 for batch number `i`, by the Thue–Morse sequence: neither a trend nor batches that alternate favour one half."""
    return i.bit_count() % 2


def noise_of_statistics(other: Column, own: Column) -> float:
    """What B owes to the few batches that its statistics came from, told by exchanging the two halves' statistics.

    An error of the statistics moves the loss up on both halves (its square), or up on one and down on the other (to first
    order). B averages two errors of which the exchange shows the difference: its own deviation is a quarter of that.
    Only one exchange is seen, so that √2 of it is kept.
    """
    rise = [
        mean([p - q for i, (p, q) in enumerate(zip(other, own, strict=True)) if half_of(i) == half])
        for half in (0, 1)
    ]
    return max(abs(rise[0] + rise[1]) / 2, abs(rise[0] - rise[1]) / math.sqrt(8))


def _disagreement(x: list[Judged], y: list[Judged]) -> float | None:
    """Share of decisions that differ."""
    pairs = [
        (p.decision, q.decision)
        for p, q in zip(x, y, strict=True)
        if p.decision is not None
        and q.decision is not None
        and p.decision.shape == q.decision.shape
    ]
    if not pairs:
        return None
    return float(torch.cat([(p != q).double().mean(1) for p, q in pairs]).mean())
