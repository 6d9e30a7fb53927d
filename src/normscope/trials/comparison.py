"""Paired comparisons of arms with the script as it is: differences, intervals, and when to say nothing.

Runs of one seed share everything but the arm, so the difference of a pair has less noise than either run. Student's t on
the differences, and Holm's step-down over the arms (1979, https://www.jstor.org/stable/4615733): of m arms the smallest p is held
against level / m, the next against level / (m − 1), and so on until one is not below. The chance of a false "better" or "worse" among them is at
most the level, however the arms depend on each other: up to the first false one only arms with an effect were passed, so the level was divided
by the number of arms without one, or by more. That the sign is right, too, is proven for independent arms (Shaffer 1980,
https://doi.org/10.1214/aos/1176345205), and simulated in the tests for arms that share one reference.

The intervals hold together at 1 − level (Bonferroni, level / m each). One that excludes 0 belongs to a significant difference. An arm can be significant
although its interval reaches beyond 0, because it was tested after others had been found to differ.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from normscope.errors import NormscopeError

LEVEL = 0.05
Outcome = Literal["better", "worse", "no significant difference", "not compared"]


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """One arm against the script as it is, in the metric's own unit.

    `difference` is the mean over seeds of arm − as-is, between `low` and `high` with 95 % confidence over all arms together; None
    below two pairs, or where `reason` says why nothing may be concluded. `p` is Holm's, to be held against the level itself.
    """

    arm: str
    pairs: int
    mean: float | None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    outcome: Outcome = "not compared"
    reason: str = ""


def check_able() -> None:
    """Raises NormscopeError where SciPy, which has Student's t, is not installed."""
    try:
        import scipy  # pyright: ignore[reportMissingTypeStubs, reportUnusedImport]  # noqa: F401
    except ImportError:
        raise NormscopeError(
            "A trial needs SciPy, which is not installed: `pip install 'normscope[trial]'`."
        ) from None


def compared(
    values: Mapping[str, Mapping[int, float]],
    reference: str,
    *,
    higher_is_better: bool = True,
    level: float = LEVEL,
) -> list[Compared]:
    """Every arm against `reference`; `values[arm][seed]` are the finished runs' metrics. In the order of `values`."""
    base = values.get(reference, {})
    others = [a for a in values if a != reference]
    refusal = seeds_without_effect(list(base.values()))
    found = [_compared(a, base, values[a], max(1, len(others)), level, refusal) for a in others]
    adjusted = holm([c.p for c in found])
    return [_decided(c, p, level, higher_is_better) for c, p in zip(found, adjusted, strict=True)]


def holm(values: Sequence[float | None]) -> list[float | None]:
    """p-values as Holm's step-down has them: the k-th smallest of m, times m − k + 1, and none below one before it.

    None is an arm that could not be tested; it counts among the m, so that a trial does not gain from what failed in it.
    """
    order = sorted((p, i) for i, p in enumerate(values) if p is not None)
    found: list[float | None] = [None] * len(values)
    least = 0.0
    for k, (p, i) in enumerate(order):
        least = max(least, min(1.0, p * (len(values) - k)))
        found[i] = least
    return found


def _decided(c: Compared, p: float | None, level: float, higher_is_better: bool) -> Compared:
    """With its adjusted p, and what follows from it."""
    if p is None or c.difference is None:
        return c
    outcome: Outcome = "no significant difference"
    if p <= level:
        outcome = "better" if (c.difference > 0) == higher_is_better else "worse"
    return msgspec.structs.replace(c, p=p, outcome=outcome)


def seeds_without_effect(values: Sequence[float]) -> str:
    """Why nothing may be concluded from the unchanged runs; empty when it may.

    Runs that coincide were not moved by their seeds: the spread that an interval rests on is missing.
    """
    if len(values) > 1 and len(set(values)) == 1:
        return f"the {len(values)} unchanged runs all gave {values[0]:g}: the seeds change nothing, or the metric is too coarse"
    return ""


def _compared(
    arm: str,
    base: Mapping[int, float],
    own: Mapping[int, float],
    family: int,
    level: float,
    refusal: str,
) -> Compared:
    """With the p of this arm alone."""
    mean = _mean(list(own.values())) if own else None
    pairs = [own[s] - base[s] for s in sorted(own.keys() & base.keys())]
    known = [d for d in pairs if math.isfinite(d)]
    if len(known) < len(pairs):
        refusal = (
            refusal
            or f"{len(pairs) - len(known)} of {len(pairs)} pairs hold a metric that is no number"
        )
    if len(known) < 2 or refusal:
        few = (
            ""
            if len(known) > 1
            else f"{len(known)} {'pair' if len(known) == 1 else 'pairs'} of runs: at least 2 are needed"
        )
        difference = _mean(known) if known else None
        return Compared(
            arm=arm, pairs=len(known), mean=mean, difference=difference, reason=refusal or few
        )
    difference, error = _mean(known), _standard_error(known)
    if error == 0:
        return _coinciding(arm, known, mean)
    low, high, p = _student(difference, error, len(known) - 1, level / family)
    return Compared(
        arm=arm, pairs=len(known), mean=mean, difference=difference, low=low, high=high, p=p
    )


def _coinciding(arm: str, differences: list[float], mean: float | None) -> Compared:
    """Pairs that all differ by the same: by nothing, or by a step of a metric too coarse to show any spread."""
    [difference] = set(differences)
    if difference == 0:
        return Compared(
            arm=arm,
            pairs=len(differences),
            mean=mean,
            difference=0.0,
            low=0.0,
            high=0.0,
            p=1.0,
            outcome="no significant difference",
            reason="every run gave what the unchanged one gave",
        )
    reason = f"all {len(differences)} pairs differ by {difference:g}: the metric is too coarse to show their spread"
    return Compared(
        arm=arm, pairs=len(differences), mean=mean, difference=difference, reason=reason
    )


def hopeless(differences: Mapping[str, Sequence[float]], level: float = 0.01) -> list[str]:
    """Arms whose interval for the mean difference lies wholly below 0, by few pairs each (`differences[arm]`, arm − as-is).

    With two pairs an arm's own spread says next to nothing (one degree of freedom), so the spread is pooled over all arms. Arms that
    spread more than others are also those that do badly, which makes the pooled spread larger and the judgement milder.
    """
    known = {a: list(d) for a, d in differences.items() if len(d) > 1}
    freedom = sum(len(d) - 1 for d in known.values())
    if not freedom:
        return []
    squares = math.fsum((x - _mean(d)) ** 2 for d in known.values() for x in d)
    spread = math.sqrt(squares / freedom)
    found: list[str] = []
    for arm, d in known.items():
        error = spread / math.sqrt(len(d))
        if error > 0 and _student(_mean(d), error, freedom, level)[1] < 0:
            found.append(arm)
    return found


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _standard_error(values: Sequence[float]) -> float:
    middle = _mean(values)
    return math.sqrt(math.fsum((v - middle) ** 2 for v in values) / (len(values) - 1) / len(values))


def _student(mean: float, error: float, freedom: int, level: float) -> tuple[float, float, float]:
    """Ends of the two-sided interval at 1 − `level`, and the p-value of a mean of 0."""
    from scipy import stats  # pyright: ignore[reportMissingTypeStubs]

    student: Any = stats.t
    t = float(student.ppf(1 - level / 2, freedom))
    p = 2 * float(student.sf(abs(mean) / error, freedom))
    return mean - t * error, mean + t * error, p
