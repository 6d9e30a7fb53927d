# pyright: basic
"""The gap: fixed weights, dropout off, the same training data; only the statistics differ.

A: batch statistics. B: recomputed population statistics, estimated on one half of the batches and judged on the other,
both ways round. C: the running statistics as they are. C − B is staleness, B − A is batch inconsistency (Wu & Johnson 2021,
"Rethinking 'Batch' in BatchNorm", section 3). Every difference is paired by sample and comes with its noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import msgspec
import torch
from torch import nn
from torch.nn.modules.batchnorm import SyncBatchNorm, _BatchNorm

from normscope.errors import NormscopeError
from normscope.graph.torch import contents
from normscope.probes.attribution import UNKNOWN, layer_gap, restore, shares, stored
from normscope.probes.clock import now
from normscope.probes.comparison import Judgements, compare, generalized, half_of
from normscope.probes.coupling import coupled, coupling
from normscope.probes.judgement import Judged, judge
from normscope.probes.population import Statistics, install, pooled, population
from normscope.probes.replay import bare, batch_norms, respond, set_mode
from normscope.probes.results import Gap
from normscope.probes.untouched import untouched
from normscope.record.torch.batches import Kept

MOST_SAMPLES = 4096
# In forwards' worth of time, measured on ResNet-18: what each batch takes (five, one of them with sums in float64), and
# what the probe takes besides (timing, coupling).
PASSES, BESIDES = 6, 6
PATIENCE = 3  # times the granted seconds that the smallest useful probe may take


@dataclass(slots=True)
class Layers:
    """Ids and paths of the modules, as the recording has them, and those that training ran with running statistics."""

    ids: dict[_BatchNorm, int]
    paths: dict[_BatchNorm, str]
    frozen: Collection[_BatchNorm] = ()


@dataclass(slots=True)
class Answer:
    """`population` maps a layer's id to its recomputed mean and variance, float64 on the host."""

    gap: Gap
    population: dict[int, tuple[torch.Tensor, torch.Tensor]] = field(
        default_factory=dict[int, tuple[torch.Tensor, torch.Tensor]]
    )


def measure(
    model: nn.Module,
    batches: Sequence[Kept],
    layers: Layers,
    *,
    model_id: int,
    name: str,
    seconds: float = 10.0,
    held_out: Sequence[Kept] = (),
    progress: Callable[[float], None] = lambda _: None,
) -> Answer:
    """Ask the model on training batches; about `seconds` of time, the model untouched afterwards.

    Layers that training never ran with batch statistics stay as they are in all of A, B and C. On `held_out` batches the
    model is asked with running statistics (D). `progress` is told the share done. Raises NormscopeError with the reason when the model cannot be asked: no
    batch norm, fewer than two batches, ranks that would have to meet, too slow.
    """
    deadline = now() + seconds
    model = bare(model)
    norms = [n for n in batch_norms(model) if n not in layers.frozen]
    chosen = list(batches)
    _refuse(model, norms, chosen)
    with untouched(model):
        chosen = _affordable(model, chosen, seconds)
        before = stored(norms)
        halves = [[b for i, b in enumerate(chosen) if half_of(i) == k] for k in (0, 1)]
        moments = [population(model, half, norms) for half in halves]
        progress(0.2)
        whole = pooled(moments)
        if norms and not whole:
            raise NormscopeError("none of the kept batches reached its batch norms")
        judged = _judged(model, chosen, norms, moments)
        progress(0.6)
        gap = compare(
            judged,
            model=model_id,
            name=name,
            samples=sum(b.samples for b in chosen),
            loss=chosen[0].loss,
        )
        if held_out:
            restore(before)
            gap = generalized(gap, judged.running, _ask(model, [*held_out]))
        progress(0.7)
        some = _spread(chosen, 4)
        # A gap that is there is worth the time to find its layer.
        later = max(deadline, now() + 0.5 * seconds)
        parts = shares(lambda: _ask(model, some), before, whole, gap, later)
        restore(before)
        progress(0.9)
        mates = coupling(model, chosen)
        restore(before)
        tied = coupled(model, chosen[0])
    found = tuple(
        layer_gap(
            norm,
            before[norm],
            whole[norm],
            (moments[0][norm], moments[1][norm]),
            layer=layers.ids[norm],
            path=layers.paths[norm],
            share=parts.get(norm, UNKNOWN),
        )
        for norm in whole
        if norm in layers.ids and all(norm in m for m in moments)
    )
    gap = msgspec.structs.replace(
        gap,
        layers=found,
        coupling=mates,
        coupled_layers=tuple(layers.paths[n] for n in tied if n in layers.paths),
    )
    recomputed = {layers.ids[n]: (m.mean, m.var) for n, m in whole.items() if n in layers.ids}
    return Answer(gap, {k: (mean.cpu(), var.cpu()) for k, (mean, var) in recomputed.items()})


def _refuse(model: nn.Module, norms: list[_BatchNorm], batches: list[Kept]) -> None:
    if not norms and not any(isinstance(m, _BatchNorm) for m in contents.modules(model)):
        raise NormscopeError("it has no batch norm module")
    if not norms and not any(
        isinstance(m, _BatchNorm) and m.running_mean is None for m in contents.modules(model)
    ):
        raise NormscopeError("training never used batch statistics, so there is nothing to compare")
    if len(batches) < 2:
        raise NormscopeError("fewer than two training batches were kept")
    together = torch.distributed.is_available() and torch.distributed.is_initialized()
    if any(isinstance(n, SyncBatchNorm) for n in norms) and together:
        raise NormscopeError("its SyncBatchNorm layers need all ranks at once")


def _judged(
    model: nn.Module,
    batches: list[Kept],
    norms: list[_BatchNorm],
    moments: Sequence[Statistics],
) -> Judgements:
    """Every batch under each kind of statistics. Leaves the last ones installed."""
    running = _ask(model, batches)
    batch = _ask(model, batches, norms)
    other: dict[int, Judged] = {}
    own: dict[int, Judged] = {}
    for half in (0, 1):
        install(moments[half])
        for i, b in enumerate(batches):
            [(own if half_of(i) == half else other)[i]] = [*_ask(model, [b])]
    order = range(len(batches))
    return Judgements(batch, [other[i] for i in order], running, [own[i] for i in order])


def _ask(
    model: nn.Module, batches: list[Kept], batch_stats: Collection[_BatchNorm] = ()
) -> list[Judged]:
    set_mode(model, batch_stats)
    return [judge(b, respond(model, b)) for b in batches]


def _affordable(model: nn.Module, batches: list[Kept], seconds: float) -> list[Kept]:
    """As many batches as time and `MOST_SAMPLES` allow, spread over the run; at least two."""
    once = math.inf
    for _ in range(2):  # the first forward may allocate and choose kernels
        began = now()
        _ask(model, batches[:1])
        once = min(once, now() - began)
        if once * (BESIDES + PASSES * len(batches)) < seconds:
            break
    least = once * (BESIDES + PASSES * 2)
    if least > PATIENCE * seconds:
        raise NormscopeError(
            f"asking it would take about {least:.2g} seconds, of which {seconds:.2g} are granted"
        )
    samples = sum(b.samples for b in batches)
    fit = int(len(batches) * MOST_SAMPLES / max(samples, MOST_SAMPLES))
    in_time = int((seconds / max(once, 1e-6) - BESIDES) / PASSES)
    return _spread(batches, max(2, min(fit, in_time)))


def _spread(batches: list[Kept], most: int) -> list[Kept]:
    """At most `most` of them, evenly over the run; the latest is always one."""
    if len(batches) <= most:
        return batches
    step = (len(batches) - 1) / (most - 1)
    return [batches[round(i * step)] for i in range(most)]
