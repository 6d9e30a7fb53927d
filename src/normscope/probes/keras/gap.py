# pyright: basic
"""The gap of a Keras model: fixed weights, dropout off, the same training data; only the statistics differ.

A: batch statistics. B: recomputed population statistics, estimated on one half of the batches and judged on the other,
both ways round. C: the moving statistics as they are. D: C on data that the model was not trained on (see `probes/gap.py`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import msgspec
import numpy as np
from keras.src import tree

from normscope.errors import NormscopeError
from normscope.probes.comparison import Judgements, compare, generalized, half_of
from normscope.probes.judgement import Judged
from normscope.probes.keras.asking import respond, untouched
from normscope.probes.keras.judging import judge, unit
from normscope.probes.keras.population import Moments, install, pooled, population
from normscope.probes.results import Gap, LayerGap
from normscope.record.keras.backends import Backend
from normscope.record.keras.batches import Kept
from normscope.record.keras.layers import NormLayer
from normscope.record.keras.norms import lags

MOST_SAMPLES = 4096
PASSES, BESIDES = 6, 6  # forwards' worth of time: of each batch, and besides
PATIENCE = 3  # times the granted seconds that the smallest useful probe may take


@dataclass(slots=True)
class Subject:
    """The model, the layers that training ran with batch statistics by their numbers, and who reads its values."""

    model: Any
    layers: Mapping[int, NormLayer]
    backend: Backend
    told: bool = True  # whether the script says `training=False` where it evaluates

    @property
    def norms(self) -> dict[int, Any]:
        return {k: x.layer for k, x in self.layers.items()}

    def ask(self, batches: Sequence[Kept], by_batch: Collection[Any] = ()) -> list[Judged]:
        return [self._judge(b, by_batch) for b in batches]

    def _judge(self, batch: Kept, by_batch: Collection[Any]) -> Judged:
        return judge(batch, respond(self.model, batch, by_batch, told=self.told), self.backend)


def measure(
    subject: Subject,
    batches: Sequence[Kept],
    *,
    number: int,
    name: str,
    seconds: float,
    held_out: Sequence[Kept] = (),
) -> tuple[Gap, dict[int, Moments]]:
    """The gap and the population statistics of each layer; the model is untouched afterwards.

    Raises NormscopeError with the reason when the model cannot be asked.
    """
    if not subject.layers:
        raise NormscopeError("training never used batch statistics, so there is nothing to compare")
    if len(batches) < 2:
        raise NormscopeError("fewer than two training batches were kept")
    norms = subject.norms
    with untouched(subject.model, subject.backend):
        chosen = _affordable(subject, list(batches), seconds)
        before = {k: kept for k, x in subject.layers.items() if (kept := x.read()) is not None}
        halves = [[b for i, b in enumerate(chosen) if half_of(i) == k] for k in (0, 1)]
        moments = [population(subject.model, half, norms, subject.backend) for half in halves]
        whole = pooled(moments)
        if not whole:
            raise NormscopeError("none of the kept batches reached its batch norms")
        judged = _judged(subject, chosen, moments)
        install({k: _as_moments(v) for k, v in before.items()}, norms)
        gap = compare(
            judged,
            model=number,
            name=name,
            samples=sum(b.samples for b in chosen),
            loss=unit(chosen[0]),
        )
        if held_out:
            gap = generalized(gap, judged.running, subject.ask(held_out))
        coupling = _coupling(subject, chosen)
    layers = tuple(
        _layer_gap(subject.layers[k], before[k], whole[k], (moments[0][k], moments[1][k]))
        for k in whole
        if k in before and all(k in m for m in moments)
    )
    corrected = tuple(x.record.path for x in subject.layers.values() if lags(x.layer))
    facts = {"layers": layers, "coupling": coupling, "corrected_layers": corrected}
    return msgspec.structs.replace(gap, **facts), whole


def _judged(
    subject: Subject, batches: list[Kept], moments: Sequence[Mapping[int, Moments]]
) -> Judgements:
    """Every batch under each kind of statistics. Leaves the last ones installed."""
    norms = subject.norms
    running = subject.ask(batches)
    batch = subject.ask(batches, list(norms.values()))
    other: dict[int, Judged] = {}
    own: dict[int, Judged] = {}
    for half in (0, 1):
        install(moments[half], norms)
        for i, b in enumerate(batches):
            [(own if half_of(i) == half else other)[i]] = subject.ask([b])
    order = range(len(batches))
    return Judgements(batch, [other[i] for i in order], running, [own[i] for i in order])


def _as_moments(kept: tuple[Any, Any]) -> Moments:
    return Moments(1, kept[0], kept[1])


def _affordable(subject: Subject, batches: list[Kept], seconds: float) -> list[Kept]:
    """As many batches as time and `MOST_SAMPLES` allow, spread over the run; at least two."""
    once = math.inf
    for _ in range(2):  # the first forward may allocate and choose kernels
        began = perf_counter()
        subject.ask(batches[:1])
        once = min(once, perf_counter() - began)
        if once * (BESIDES + PASSES * len(batches)) < seconds:
            break
    least = once * (BESIDES + PASSES * 2)
    if least > PATIENCE * seconds:
        raise NormscopeError(
            f"asking it would take about {least:.2g} seconds, of which {seconds:.2g} are granted"
        )
    samples = sum(b.samples for b in batches)
    fit = int(len(batches) * MOST_SAMPLES / max(samples, MOST_SAMPLES))
    most = max(2, min(fit, int((seconds / max(once, 1e-6) - BESIDES) / PASSES)))
    if len(batches) <= most:
        return batches
    step = (len(batches) - 1) / (most - 1)
    return [batches[round(i * step)] for i in range(most)]


def _coupling(subject: Subject, batches: list[Kept]) -> float | None:
    """Rms change of the first half's outputs when another half replaces the second, in output deviations; as `evaluate` calls."""
    first = batches[0]
    second = next((b for b in batches[1:] if b.samples == first.samples), None)
    if second is None or first.samples < 4:
        return None
    half = first.samples // 2

    def mix(p: Any, q: Any) -> Any:
        fits = isinstance(p, np.ndarray) and isinstance(q, np.ndarray) and p.shape == q.shape
        return np.concatenate([p[:half], q[half:]]) if fits and p.ndim else p

    exchanged = replace(first, args=tree.map_structure(mix, first.args, second.args))
    whole, other = (x.output for x in subject.ask([first, exchanged]))
    if whole is None or other is None:
        return None
    moved = float((whole[:half] - other[:half]).square().mean().sqrt())
    sd = float(whole.std())
    return moved / sd if sd > 0 else 0.0


def _layer_gap(
    layer: NormLayer, kept: tuple[Any, Any], whole: Moments, halves: tuple[Moments, Moments]
) -> LayerGap:
    """How far stored statistics are from the population's; NaN where they are not numbers."""
    mean, var = (a.astype(np.float64) for a in kept)
    eps = layer.record.eps
    spread = whole.var + eps
    one, two = halves
    # Half the distance between two halves is about the error of the whole.
    between = 0.5 * np.log((one.var + eps) / (two.var + eps))
    floor = 0.5 * max(_rms((one.mean - two.mean) / np.sqrt(spread)), _rms(between))
    with np.errstate(all="ignore"):
        return LayerGap(
            layer.record.id,
            layer.record.path,
            mean_shift=_rms((mean - whole.mean) / np.sqrt(spread)),
            log_sd=_rms(0.5 * np.log((var + eps) / spread)),
            floor=floor,
            share=math.nan,
        )


def _rms(x: Any) -> float:
    return float(np.sqrt(np.square(x).mean()))
