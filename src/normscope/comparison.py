"""What a change did: two diagnoses side by side, told apart by measurement and honest where nothing can be said."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from normscope.diagnosis import Diagnosis
from normscope.finding import Finding
from normscope.probes.results import Gap
from normscope.record.recording import Recording


@dataclass(frozen=True, slots=True)
class Sides:
    """One number of both runs; None where a run does not hold it."""

    name: str
    unit: str
    before: float | None
    after: float | None


@dataclass(frozen=True, slots=True)
class GapSides:
    """The gap probe's answers for one model. `comparable`: both exist and are in the same measure and unit."""

    name: str
    before: Gap | None
    after: Gap | None

    @property
    def comparable(self) -> bool:
        b, a = self.before, self.after
        return b is not None and a is not None and (b.measure, b.unit) == (a.measure, a.unit)


@dataclass(frozen=True, slots=True)
class LossSummary:
    """A loss curve in three numbers: the first value, the median of the last tenth, the lowest.

    `values` is the number of finite values among the sampled steps.
    """

    first: float
    final: float
    lowest: float
    values: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Findings matched by code, model and layers.

    `unjudged` were found before, but their rule could not run on the run after: they are not called gone.
    `newly_judged` are found after, by rules that could not run before: they are not called new.
    """

    before: Diagnosis
    after: Diagnosis
    gone: tuple[Finding, ...]
    new: tuple[Finding, ...]
    unchanged: tuple[tuple[Finding, Finding], ...]
    unjudged: tuple[Finding, ...]
    newly_judged: tuple[Finding, ...]
    gaps: tuple[GapSides, ...]
    noise: tuple[Sides, ...]
    loss: tuple[LossSummary | None, LossSummary | None]
    metrics: tuple[Sides, ...]

    @property
    def steps(self) -> tuple[int, int]:
        """Training steps of both runs."""
        return self.before.recording.steps, self.after.recording.steps


def compare(before: Diagnosis, after: Diagnosis) -> Comparison:
    """Lay two runs side by side: findings, gap, statistics noise, loss and the user's own metrics."""
    gone, new, unchanged = _matched(before.findings, after.findings)
    return Comparison(
        before=before,
        after=after,
        gone=tuple(f for f in gone if _judges(after, f)),
        new=tuple(f for f in new if _judges(before, f)),
        unchanged=tuple(unchanged),
        unjudged=tuple(f for f in gone if not _judges(after, f)),
        newly_judged=tuple(f for f in new if not _judges(before, f)),
        gaps=tuple(_gaps(before.recording, after.recording)),
        noise=tuple(_noise(before.recording, after.recording)),
        loss=(loss_summary(before.recording), loss_summary(after.recording)),
        metrics=tuple(_metrics(before.recording, after.recording)),
    )


def _judges(diagnosis: Diagnosis, finding: Finding) -> bool:
    """Whether the run could have shown the finding; a run that was not evaluated could show none."""
    if diagnosis.verdict.status == "not_evaluated":
        return False
    return all(n.code != finding.code for n in diagnosis.not_evaluated)


def _matched(
    before: Sequence[Finding], after: Sequence[Finding]
) -> tuple[list[Finding], list[Finding], list[tuple[Finding, Finding]]]:
    """Findings only before, only after, and pairs that agree in code, model and layers."""
    waiting: dict[object, list[Finding]] = defaultdict(list)
    for f in after:
        waiting[_identity(f)].append(f)
    gone: list[Finding] = []
    pairs: list[tuple[Finding, Finding]] = []
    for f in before:
        twins = waiting[_identity(f)]
        if twins:
            pairs.append((f, twins.pop(0)))
        else:
            gone.append(f)
    left = {id(f) for twins in waiting.values() for f in twins}
    return gone, [f for f in after if id(f) in left], pairs


def _identity(f: Finding) -> object:
    return f.code, f.model, tuple(sorted(f.layers))


def _gaps(before: Recording, after: Recording) -> Iterable[GapSides]:
    """Models paired by class name, those of one name in the order of their first call."""
    sides: dict[tuple[str, int], list[Gap | None]] = {}
    for side, recording in enumerate((before, after)):
        seen: dict[str, int] = defaultdict(int)
        for gap in recording.measurements.get("gap", []):
            if isinstance(gap, Gap):
                pair = sides.setdefault((gap.name, seen[gap.name]), [None, None])
                pair[side] = gap
                seen[gap.name] += 1
    for (name, _), (b, a) in sides.items():
        yield GapSides(name, b, a)


NOISES = (
    ("mean_noise", "noise of batch means (median)", "running sd"),
    ("var_noise", "noise of batch variances (median)", "ln ratio"),
)


def _noise(before: Recording, after: Recording) -> Iterable[Sides]:
    for series, name, unit in NOISES:
        b, a = median_noise(before, series), median_noise(after, series)
        if b is not None or a is not None:
            yield Sides(name, unit, b, a)


def median_noise(recording: Recording, series: str) -> float | None:
    """Median over polls and layers of a noise series, in the series' own unit; None without a finite value."""
    if recording.polls is None or series not in recording.polls.values:
        return None
    values = recording.polls.values[series]
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else None


def loss_summary(recording: Recording) -> LossSummary | None:
    """The sampled loss curve in a few numbers; None without a finite value."""
    if recording.scalars is None:
        return None
    loss: NDArray[np.float64] = recording.scalars.loss[np.isfinite(recording.scalars.loss)]
    if not loss.size:
        return None
    last = loss[-max(1, loss.size // 10) :]
    return LossSummary(float(loss[0]), float(np.median(last)), float(loss.min()), int(loss.size))


def _metrics(before: Recording, after: Recording) -> Iterable[Sides]:
    """The last reported value of each of the user's metrics."""
    for name in dict.fromkeys((*before.metrics, *after.metrics)):
        b, a = before.metrics.get(name), after.metrics.get(name)
        yield Sides(name, "1", b[-1][1] if b else None, a[-1][1] if a else None)
