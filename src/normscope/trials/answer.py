"""What a trial answers: each arm beside the unchanged script, ranked. Plain values that reports and rules read; no framework."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import median

import msgspec

from normscope.trials.arms import AS_IS, Arm, drawn
from normscope.trials.comparison import LEVEL, Compared, compared
from normscope.trials.results import Plan, Run

RANDOM = "random"


class ArmAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One arm: its runs by seed, their mean and standard deviation, and the comparison with the unchanged script.

    `time`, `memory` and `device_memory` are medians over seeds of arm / as-is. `compared` is None for `as-is` and for an arm without a
    run; `reason` tells why it was not compared or not run on.
    """

    name: str
    runs: tuple[Run, ...] = ()
    mean: float | None = None
    spread: float | None = None
    compared: Compared | None = None
    time: float | None = None
    memory: float | None = None
    device_memory: float | None = None
    reason: str = ""
    stood_for: tuple[str, ...] = ()  # of `random`: what it was at each seed


class TrialAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """All arms, the best first; `as-is` stands among them where its mean puts it, and arms without a metric last."""

    plan: Plan
    arms: tuple[ArmAnswer, ...]
    level: float = LEVEL
    notes: tuple[str, ...] = ()

    @property
    def as_is(self) -> ArmAnswer:
        return next(a for a in self.arms if a.name == AS_IS)

    def with_outcome(self, outcome: str) -> list[ArmAnswer]:
        """Arms that came out so, in their order."""
        return [a for a in self.arms if a.compared is not None and a.compared.outcome == outcome]


def answer(
    plan: Plan,
    arms: Sequence[Arm],
    runs: Mapping[tuple[str, int], Run],
    dropped: Mapping[str, str],
    notes: Sequence[str] = (),
) -> TrialAnswer:
    """Judge the runs that are there."""
    by_arm = {a.name: [runs[a.name, s] for s in plan.seeds if (a.name, s) in runs] for a in arms}
    stood_for: dict[str, tuple[str, ...]] = {}
    if RANDOM in by_arm:
        by_arm[RANDOM], stood_for[RANDOM] = _random(plan, arms, by_arm)
    values = {
        name: {r.seed: _value(r) for r in found}
        for name, found in by_arm.items()
        if found and not all(r.status == "not-applicable" for r in found)
    }
    judged = {c.arm: c for c in compared(values, AS_IS, higher_is_better=plan.higher_is_better)}
    base = {r.seed: r for r in by_arm[AS_IS]}
    found = [
        _arm(a.name, by_arm[a.name], base, judged, dropped, stood_for.get(a.name, ())) for a in arms
    ]
    said = [f"{a.name}: {r.note}" for a in found if a.name != RANDOM for r in a.runs if r.note]
    return TrialAnswer(
        plan=plan,
        arms=tuple(sorted(found, key=_rank(plan))),
        notes=tuple(dict.fromkeys((*notes, *said))),
    )


def _random(
    plan: Plan, arms: Sequence[Arm], by_arm: Mapping[str, list[Run]]
) -> tuple[list[Run], tuple[str, ...]]:
    """The runs of the arms that chance chose, one for each seed: a run of the same arm and seed would be the same run."""
    able = [a for a in arms if not any(r.status == "not-applicable" for r in by_arm[a.name])]
    if not any(a.name not in (AS_IS, RANDOM) for a in able):
        return [], ()
    found: list[Run] = []
    for seed in plan.seeds:
        chosen = drawn(able, seed).name
        found += [r for r in by_arm[chosen] if r.seed == seed]
    return found, tuple(r.arm for r in found)


def _value(run: Run) -> float:
    return math.nan if run.metric is None else run.metric


def _arm(
    name: str,
    runs: list[Run],
    base: Mapping[int, Run],
    judged: Mapping[str, Compared],
    dropped: Mapping[str, str],
    stood_for: tuple[str, ...],
) -> ArmAnswer:
    known = [r.metric for r in runs if r.metric is not None]
    mean = math.fsum(known) / len(known) if known else None
    spread = None
    if mean is not None and len(known) > 1:
        spread = math.sqrt(math.fsum((v - mean) ** 2 for v in known) / (len(known) - 1))
    pairs = [(r, base[r.seed]) for r in runs if r.seed in base and name != AS_IS]
    pairs = [(r, b) for r, b in pairs if r.status == b.status == "finished"]
    return ArmAnswer(
        name=name,
        runs=tuple(runs),
        mean=mean,
        spread=spread,
        compared=judged.get(name),
        time=_ratio([(r.seconds, b.seconds) for r, b in pairs]),
        memory=_ratio([(r.memory, b.memory) for r, b in pairs]),
        device_memory=_ratio([(r.device_memory, b.device_memory) for r, b in pairs]),
        reason=_reason(name, runs, judged.get(name), dropped),
        stood_for=stood_for,
    )


def _ratio(pairs: Sequence[tuple[float, float]]) -> float | None:
    known = [a / b for a, b in pairs if b > 0]
    return median(known) if known and any(a > 0 for a, _ in pairs) else None


def _reason(
    name: str, runs: Sequence[Run], found: Compared | None, dropped: Mapping[str, str]
) -> str:
    """What kept runs from a metric, each sentence once; then why it was not run on, or not compared."""
    without = [r for r in runs if r.metric is None]
    if any(r.status == "not-applicable" for r in without):
        return f"not applicable: {next(r.reason for r in without if r.status == 'not-applicable')}"
    parts: list[str] = []
    for reason in dict.fromkeys(r.reason for r in without):
        seeds = [str(r.seed) for r in without if r.reason == reason]
        of = f"{len(seeds)} of {len(runs)} runs" if len(runs) > 1 else "its run"
        parts.append(f"{of}: {reason}")
    if name in dropped:
        parts.append(dropped[name])
    if not runs:
        parts.append("not run yet")
    elif not parts and found is not None and found.reason:
        parts.append(found.reason)
    return "; ".join(parts)


def _rank(plan: Plan) -> Callable[[ArmAnswer], tuple[int, float]]:
    sign = -1 if plan.higher_is_better else 1

    def key(arm: ArmAnswer) -> tuple[int, float]:
        """By the mean difference, so that arms are ranked on the seeds they share with the unchanged script."""
        if arm.name == AS_IS:
            return (0, 0.0) if arm.mean is not None else (1, 0.0)
        if arm.compared is None or arm.compared.difference is None:
            return 1, 0.0
        return 0, sign * arm.compared.difference

    return key
