"""How much of a measured gap counts: the thresholds of the gap probe, in one place.

A difference counts only above three times its noise *and* above a size that matters. Decisions are
what a user loses by, so a difference in loss that leaves the decisions alone weighs less.
"""

from __future__ import annotations

from math import hypot, isfinite, sqrt

from msgspec import structs

from normscope.finding import Confidence, Severity
from normscope.probes.results import Gap, Reading

POINT = 0.01  # one percentage point of error rate
FULL_CONFIDENCE = (
    1000  # samples; population statistics are near-optimal from 10³ (Wu & Johnson 2021)
)


def staleness(gap: Gap, *, foreign: bool = False) -> Severity | None:
    """How much the running statistics cost against recomputed ones (C − B); None: nothing that counts.

    `foreign`: they are known to be other weights' than the model runs with, so that a loss is no chance of healthy averages.
    """
    if gap.measure == "output":
        return _for(gap, _output(gap.stale))
    lost = gap.stale_error or _lost(gap, gap.error_running, gap.error_population)
    return _for(gap, _judge(gap, gap.stale, lost, points=0.5 * POINT, foreign=foreign))


def inconsistency(gap: Gap) -> Severity | None:
    """How much the best statistics that evaluation has cost against the batch's own; None: nothing that counts.

    Those are the population's (B − A), or the running ones where they serve better: a network that was trained on corrections by its
    own averages (batch renormalization) may fit those averages and no others.
    """
    if gap.measure == "output":  # B is the reference that the distances are taken from
        return None
    gap = at_best(gap)
    lost = gap.inconsistent_error or _lost(gap, gap.error_population, gap.error_batch)
    return _for(gap, _judge(gap, gap.inconsistent, lost, points=POINT))


def at_best(gap: Gap) -> Gap:
    """The gap with running statistics in the place of the population's where no measure prefers those."""
    if not runs_better(gap):
        return gap
    # C − A from C − B and B − A, their noises as if independent: more than it is.
    error = None
    if gap.stale_error and gap.inconsistent_error:
        error = _sum(gap.stale_error, gap.inconsistent_error)
    return structs.replace(
        gap,
        population=gap.running,
        error_population=gap.error_running,
        stale=Reading(0.0, gap.stale.noise),
        stale_error=gap.stale_error and Reading(0.0, gap.stale_error.noise),
        inconsistent=_sum(gap.stale, gap.inconsistent),
        inconsistent_error=error,
    )


def runs_better(gap: Gap) -> bool:
    """Whether running statistics serve better than recomputed ones, and no worse in decisions."""
    if gap.error_running is not None and gap.error_population is not None:
        return gap.stale.value < 0 and gap.error_running <= gap.error_population
    return gap.measure != "output" and gap.stale.value < 0


def _sum(p: Reading, q: Reading) -> Reading:
    return Reading(p.value + q.value, hypot(p.noise, q.noise))


def staleness_outweighs(gap: Gap) -> bool:
    """Whether C − B is more than twice B − A: then old statistics are the trouble, whatever batches reveal."""
    if gap.stale_error and gap.inconsistent_error:
        return gap.stale_error.value > 2 * gap.inconsistent_error.value
    return gap.stale.value > 2 * gap.inconsistent.value


def calm(gap: Gap) -> bool:
    """Whether neither part of the gap counts, not even as a remark, and none that would be an error is hidden by noise.

    Readings that are not numbers and layers that use batch statistics in evaluation leave the question open.
    """
    readings = (gap.batch, gap.population, gap.running)
    if gap.coupled_layers or not all(isfinite(r.value) for r in readings):
        return False
    if staleness(gap) is not None or inconsistency(gap) is not None:
        return False
    sure = _noiseless(gap)
    return "error" not in (staleness(sure), inconsistency(sure))


def acquits(gap: Gap) -> bool:
    """Whether the gap is calm and holds nothing that would be worth a remark above twice its noise: a miss of significance is no proof."""
    doubtful = _with_noise(gap, 2 / 3)  # so that three times it are twice the noise
    return calm(gap) and staleness(doubtful) is None and inconsistency(doubtful) is None


def _noiseless(gap: Gap) -> Gap:
    return _with_noise(gap, 0.0)


def _with_noise(gap: Gap, share: float) -> Gap:
    """The gap as if its differences had that share of their noise."""
    names = ("stale", "inconsistent", "stale_error", "inconsistent_error")
    found = {n: Reading(r.value, share * r.noise) for n in names if (r := getattr(gap, n))}
    return structs.replace(gap, **found)


def confidence(gap: Gap) -> Confidence:
    """The probe's own confidence, at most medium below 1000 samples."""
    if gap.samples < FULL_CONFIDENCE and gap.confidence == "high":
        return "medium"
    return gap.confidence


def error_noise(p: float, q: float, samples: int) -> float:
    """Standard error of the difference of two error rates on `samples` samples.

    Binomial and as if unpaired, which overstates it: the same samples are judged twice.
    """
    return sqrt((p * (1 - p) + q * (1 - q)) / max(samples, 1))


def _for(gap: Gap, severity: Severity | None) -> Severity | None:
    """A remark at most where nobody uses the model with running statistics: a thrown-away copy, a predictor, a critic."""
    return "info" if severity and gap.relied_on is False else severity


def _lost(gap: Gap, worse: float | None, better: float | None) -> Reading | None:
    if worse is None or better is None:
        return None
    return Reading(worse - better, error_noise(worse, better, gap.samples))


def _judge(
    gap: Gap, rise: Reading, lost: Reading | None, *, points: float, foreign: bool = False
) -> Severity | None:
    """By decisions where they are known, for a heavy-tailed loss may hide in its noise what every decision shows."""
    if gap.measure == "error":
        return _error_rate(rise, points, foreign=foreign) if significant(rise) else None
    if lost and significant(lost) and lost.value > points and not rise.value < -3 * rise.noise:
        return _error_rate(lost, points, foreign=foreign)
    if not significant(rise):
        return None
    if lost is None or _drowned(lost, gap.samples):
        return _loss(gap, rise.value)
    # The decisions stand: an overconfident loss alone is worth a word when it is large.
    large = rise.value >= 0.05 and rise.value >= 0.05 * abs(gap.population.value)
    return "info" if large else None


def _drowned(lost: Reading, samples: int) -> bool:
    """Whether so many decisions are lost that only their noise keeps them from counting, on many samples.

    Rare huge inputs do that: the two halves' statistics differ, and with them which decisions are lost. The loss speaks then.
    """
    return lost.value >= 3 * POINT and samples >= FULL_CONFIDENCE


def significant(difference: Reading) -> bool:
    """Above three times its noise; what is not a number is not."""
    return difference.value > 3 * difference.noise


def _error_rate(rise: Reading, points: float, *, foreign: bool) -> Severity | None:
    """By the share of decisions lost. Healthy scripts with batches of 16 to 64 lost up to 3.3 ± 0.7 points by chance
    (running averages of the latest batches are noisy themselves), so blame begins where 3 are exceeded by more than the noise; with 3 where the statistics are `foreign`."""
    if rise.value <= points:
        return None
    if rise.value >= 5 * POINT:
        return "error"
    margin = 0.0 if foreign else rise.noise
    return "warning" if rise.value - margin >= 3 * POINT else "info"


def _loss(gap: Gap, rise: float) -> Severity | None:
    relative = rise / abs(gap.population.value) if gap.population.value else float("inf")
    if gap.unit == "nats":
        if rise < 0.05 or relative < 0.05:
            return None
        return "error" if rise >= 0.25 else "warning"
    # The scale of another loss is not known: only its ratio speaks.
    if relative < 0.25:
        return "info" if relative >= 0.05 else None
    return "error" if relative >= 1 else "warning"


def _output(rise: Reading) -> Severity | None:
    """Without targets nothing tells better from worse, so a large distance is a warning at most."""
    if not significant(rise) or rise.value < 0.1:
        return None
    # The arg-max of what may be features, not scores, says nothing either.
    return "warning" if rise.value >= 1 else "info"
