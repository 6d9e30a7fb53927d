"""From numbers by seed to a verdict: paired effects with intervals, and the few rules by which claims are judged. Imports no framework."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from normscope.lab.claim import Judgement
from normscope.trials.comparison import compared

Answer = Literal["holds", "does not hold", "undecided"]
Key = TypeVar("Key")
LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class Effect:
    """`value` in `unit`, between `low` and `high` with 95 % confidence; `none` is the value of no effect. Without an interval nothing is decided."""

    value: float
    low: float | None
    high: float | None
    unit: str = "points"
    none: float = 0.0

    def __str__(self) -> str:
        ends = (
            ""
            if self.low is None or self.high is None
            else f" [{self._told(self.low)}, {self._told(self.high)}]"
        )
        return f"{self._told(self.value)} {self.unit}{ends}"

    def _told(self, value: float) -> str:
        """Of percentage points two decimals: a test set of some hundred images knows no more."""
        if self.unit != "points" or not math.isfinite(value):
            return figure(value)
        return f"{round(value, 2) + 0.0:.{1 if abs(value) >= 10 else 2}f}"


def figure(value: float) -> str:
    """Three digits that count, without an exponent where a reader needs none."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if 0.001 <= abs(value) < 10000:
        digits = max(0, 2 - math.floor(math.log10(abs(value))))
        return f"{value:.{min(digits, 2 if abs(value) >= 0.1 else 4)}f}"
    return f"{value:.1e}"


def difference(
    ours: Sequence[float], others: Sequence[float], *, family: int = 1, unit: str = "points"
) -> Effect:
    """Ours − others, paired by seed. `family`: so many effects are judged together, each at that share of 5 % (Bonferroni).

    Pairs that all differ by the same, and not by 0, show no spread to make an interval of: nothing is decided then.
    """
    pairs = [a - b for a, b in zip(ours, others, strict=True)]
    found = mean(pairs, family=family, unit=unit)
    return (
        Effect(found.value, None, None, unit) if len(set(pairs)) == 1 and pairs[0] != 0 else found
    )


def ratio(ours: Sequence[float], others: Sequence[float], *, family: int = 1) -> Effect:
    """Ours ÷ others, paired by seed: the geometric mean, 1 is no effect."""
    logs = difference([math.log(v) for v in ours], [math.log(v) for v in others], family=family)
    ends = [None if e is None else math.exp(e) for e in (logs.low, logs.high)]
    return Effect(math.exp(logs.value), ends[0], ends[1], "×", 1.0)


def mean(
    values: Sequence[float], *, family: int = 1, unit: str = "points", none: float = 0.0
) -> Effect:
    """The mean over seeds, `none` being no effect. What is the same to the last bit for every seed has an interval of no width."""
    if len(set(values)) == 1:
        return Effect(values[0], values[0], values[0], unit, none)
    away = dict(enumerate(v - none for v in values))
    # The other side does not vary; `compared` asks for some spread there, which is too small to be seen in the result.
    smallest = 1e-9 * max(abs(v) for v in away.values())
    [told] = compared(
        {"none": {i: smallest * (i % 2) for i in away}, "ours": away}, "none", level=LEVEL / family
    )
    value = math.nan if told.difference is None else told.difference + none
    ends = [None if e is None else e + none for e in (told.low, told.high)]
    return Effect(value, ends[0], ends[1], unit, none)


def above(effect: Effect, matters: float) -> Answer:
    """Is it above no effect, by what matters?

    Holds when the whole interval lies above no effect and the value reaches `matters`; does not hold when the whole interval lies below
    `matters`; undecided otherwise. So an interval that includes no effect never holds.
    """
    if effect.low is None or effect.high is None or not math.isfinite(effect.value):
        return "undecided"
    if effect.high < matters:
        return "does not hold"
    return "holds" if effect.low > effect.none and effect.value >= matters else "undecided"


def below(effect: Effect, matters: float) -> Answer:
    """`above`, the other way round: `matters` lies below no effect."""
    ends = (
        None if effect.high is None else -effect.high,
        None if effect.low is None else -effect.low,
    )
    return above(Effect(-effect.value, *ends, effect.unit, -effect.none), -matters)


def within(effect: Effect, bound: float) -> Answer:
    """Is it as good as nothing: the whole interval nearer to no effect than `bound`? Not when the whole interval lies beyond it."""
    if effect.low is None or effect.high is None:
        return "undecided"
    low, high = effect.low - effect.none, effect.high - effect.none
    if -bound <= low and high <= bound:
        return "holds"
    return "does not hold" if low > bound or high < -bound else "undecided"


def together(answers: Mapping[str, Answer], *, when: str = "", ordered: bool = False) -> str:
    """One verdict from the answers in several settings: all, none, or those named by `when` and their labels.

    Labels that are `ordered`, small to large, are put as "… or less" and "… or more" where the answers allow it.
    """
    labels = list(answers)
    holding = [label for label, a in answers.items() if a == "holds"]
    if len(holding) == len(labels):
        return "holds"
    if not holding:
        refuted = all(a == "does not hold" for a in answers.values())
        return "does not hold" if refuted else "undecided"
    if ordered and len(holding) > 1 and holding == labels[: len(holding)]:
        return f"holds when {when}{holding[-1]} or less"
    if ordered and len(holding) > 1 and holding == labels[-len(holding) :]:
        return f"holds when {when}{holding[0]} or more"
    return f"holds when {when}{' or '.join(holding)}"


def shown(answers: Mapping[Key, Answer], otherwise: Key) -> Key:
    """Which effect stands beside the verdict: `otherwise`, unless the claim holds in other settings only. Then the first of these."""
    holding = [k for k, a in answers.items() if a == "holds"]
    return otherwise if not holding or otherwise in holding else holding[0]


def judgement(verdict: str, what: str, effect: Effect, *details: str) -> Judgement:
    return Judgement(verdict, what, effect.value, effect.low, effect.high, effect.unit, details)
