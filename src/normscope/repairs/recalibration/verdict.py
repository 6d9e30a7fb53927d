# pyright: basic
"""Whether recomputed statistics are better, judged on other batches than those that they came from."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.errors import NormscopeError
from normscope.probes.attribution import restore, stored
from normscope.probes.comparison import Judgements, compare, half_of
from normscope.probes.judgement import Judged, judge
from normscope.probes.population import install
from normscope.probes.replay import respond, set_mode
from normscope.probes.results import Gap
from normscope.probes.setup import Given
from normscope.repairs.certificate import Score
from normscope.repairs.recalibration.estimating import Estimate

BEYOND = 2.0  # standard errors: passed by chance in 2 of 100 cases


def halves(batches: Sequence[Given]) -> tuple[list[Given], list[Given]]:
    """Two halves that no trend and no alternation of batches favours. Raises NormscopeError where one would be empty."""
    one, two = ([b for i, b in enumerate(batches) if half_of(i) == k] for k in (0, 1))
    if not two:
        raise NormscopeError(
            f"{len(batches)} batch was given, but a loss is judged on other batches than those of the statistics: "
            "give two or more, or no loss."
        )
    return one, two


def judged(
    model: nn.Module,
    norms: Mapping[str, _BatchNorm],
    batches: Sequence[Given],
    estimates: tuple[Estimate, Estimate],
) -> Gap:
    """The gap with both halves' statistics, each judged on the other half. Inside `untouched`; gives the buffers back."""

    def ask(some: Sequence[Given], batch_stats: Collection[_BatchNorm] = ()) -> list[Judged]:
        set_mode(model, batch_stats)
        return [judge(b, respond(model, b)) for b in some]

    before = stored([*norms.values()])
    running = ask(batches)
    batch = ask(batches, [*norms.values()])
    other: dict[int, Judged] = {}
    own: dict[int, Judged] = {}
    for half, estimate in enumerate(estimates):
        install({norms[path]: m for path, m in estimate.moments.items()})
        for i, b in enumerate(batches):
            [(own if half_of(i) == half else other)[i]] = ask([b])
    restore(before)
    order = range(len(batches))
    return compare(
        Judgements(batch, [other[i] for i in order], running, [own[i] for i in order]),
        model=0,
        name=type(model).__name__,
        samples=sum(b.samples for b in batches),
        loss=batches[0].loss,
    )


def score_of(gaps: Sequence[Gap]) -> Score:
    """The score over all ranks, each weighted by its samples. Raises NormscopeError where the loss gave no number."""
    if any(g.measure != "loss" for g in gaps):
        raise NormscopeError(
            "The loss could not be judged: `loss(output, target)` was expected to return a number for the batch "
            "or one for each sample."
        )
    weights = [g.samples / sum(g.samples for g in gaps) for g in gaps]

    def mean(values: Sequence[float]) -> float:
        return sum(w * v for w, v in zip(weights, values, strict=True))

    def errors(values: Sequence[float | None]) -> float | None:
        known = [v for v in values if v is not None]
        return mean(known) if len(known) == len(values) else None

    noise = sum((w * g.stale.noise) ** 2 for w, g in zip(weights, gaps, strict=True)) ** 0.5
    return Score(
        unit=gaps[0].unit,
        before=mean([g.running.value for g in gaps]),
        after=mean([g.population.value for g in gaps]),
        train=mean([g.batch.value for g in gaps]),
        gain=mean([g.stale.value for g in gaps]),
        noise=noise,
        error_before=errors([g.error_running for g in gaps]),
        error_after=errors([g.error_population for g in gaps]),
    )


def is_better(score: Score) -> bool:
    """Whether the gain is beyond the noise. A loss before that was no number is worse than any that is one."""
    if score.before != score.before:
        return score.after == score.after
    return score.gain > BEYOND * score.noise
