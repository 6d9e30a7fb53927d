"""Which run comes next, and which arms are not run on. Plain functions of what is known."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from normscope.trials.arms import AS_IS
from normscope.trials.comparison import hopeless
from normscope.trials.results import Run

Key = tuple[str, int]  # arm and seed


def to_run(arms: Sequence[str], seeds: Sequence[int]) -> list[Key]:
    """Seed by seed, and in each the unchanged script first: comparisons are there as soon as they can be."""
    return [(arm, seed) for seed in seeds for arm in arms if arm != "random"]


def ready(
    wanted: Sequence[Key],
    done: Mapping[Key, Run],
    running: Collection[Key],
    dropped: Mapping[str, str],
) -> Key | None:
    """The next run: other arms wait for the unchanged run of their seed, whose steps their schedules need; None: nothing to begin now.

    Until any run is there, the first is alone: it tells whether runs can be judged at all, what memory they need, and whether
    they write to the same files.
    """
    if running and not done:
        return None
    open_ = [k for k in wanted if k not in done and k not in running and k[0] not in dropped]
    for arm, seed in sorted(open_, key=lambda k: k[0] != AS_IS) if running else open_:
        if arm == AS_IS or (AS_IS, seed) in done:
            return arm, seed
    return None


def dropped(
    arms: Sequence[str], done: Mapping[Key, Run], *, halving: bool, higher_is_better: bool
) -> dict[str, str]:
    """Arms that are not run with further seeds, each with the reason."""
    found: dict[str, str] = {}
    for (arm, seed), run in done.items():
        if run.status == "not-applicable":
            found.setdefault(arm, f"not applicable (seen at seed {seed})")
    if halving:
        racing = [a for a in arms if a not in (AS_IS, "random", *found)]
        found |= _halved(racing, done, higher_is_better)
    return found


def _halved(racing: list[str], done: Mapping[Key, Run], higher_is_better: bool) -> dict[str, str]:
    """Looked at when all arms in the race have 2, 4, 8, … seeds: rarely, so that chance drops few."""
    found: dict[str, str] = {}
    seeds = sorted({seed for arm, seed in done if arm == AS_IS})
    for look in (2, 4, 8, 16, 32, 64):
        first = seeds[:look]
        racing = [a for a in racing if a not in found]
        if len(first) < look or not all((a, s) in done for a in racing for s in first):
            break
        without = [a for a in racing if all(done[a, s].metric is None for s in first)]
        found |= dict.fromkeys(
            without, f"stopped after {look} seeds: none of its runs gave a metric"
        )
        sign = 1 if higher_is_better else -1
        differences = {
            a: [
                sign * d
                for s in first
                if (d := _difference(done[a, s], done[AS_IS, s])) is not None
            ]
            for a in racing
        }
        for arm in hopeless(differences):
            found[arm] = (
                f"stopped after {look} seeds: its interval lay wholly on the worse side of the unchanged script's"
            )
    return found


def _difference(run: Run, base: Run) -> float | None:
    if run.metric is None or base.metric is None:
        return None
    return run.metric - base.metric
