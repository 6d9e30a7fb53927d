# pyright: basic
"""How many samples and which batch sizes the granted time allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from normscope.errors import NormscopeError
from normscope.probes.clock import now
from normscope.probes.granted import refuse_beyond
from normscope.probes.sets import Ask, Samples

SMALLEST, LARGEST = 2, 512
FEWEST_SETS, MOST_SETS = 8, 16  # an interval over fewer sets is wide, over more hardly narrower
LEAST = 8  # samples of a set: sizes 2 and 4 against 8
GOOD = 32  # below that a reference is itself biased: smaller sizes are given up first
TIMED = 0.1  # of the granted seconds, for finding out what a batch costs
MEASURED = (
    3  # sizes that are timed in any case: the smallest show little but what comes with every batch
)


@dataclass(frozen=True, slots=True)
class Plan:
    """`sizes` are below `largest`, the samples of a set; `cost` is in seconds for one cut of one set."""

    sets: int
    largest: int
    sizes: tuple[int, ...]
    skipped: tuple[int, ...]
    cost: Mapping[int, float]
    seconds: float

    def divided(self, samples: int) -> list[torch.Tensor]:
        """Disjoint random sets of samples, always the same ones."""
        order = torch.randperm(samples, generator=torch.Generator().manual_seed(0))
        return [*order[: self.sets * self.largest].split(self.largest)]

    def shuffled(self, members: torch.Tensor, number: int, cut: int) -> torch.Tensor:
        """The members of set `number` in the order of one of its random cuts."""
        generator = torch.Generator().manual_seed(1 + number + 10_000 * cut)
        return members[torch.randperm(len(members), generator=generator)]


def planned(
    ask: Ask,
    pool: Samples,
    *,
    seconds: float,
    cuts: int,
    compared: int,
) -> Plan:
    """The largest sets that samples and time allow; where even small ones take too long, without the smallest sizes.

    Raises NormscopeError for too few samples, and when all of that would take much longer than granted.
    """
    most = _power(min(LARGEST, pool.samples // FEWEST_SETS))
    if most < LEAST:
        raise NormscopeError(
            f"it needs {FEWEST_SETS * LEAST} samples or more to be cut anew, and there are {pool.samples}"
        )
    every = _powers(SMALLEST, most)
    once = _times(ask, pool, every, TIMED * seconds)
    largest = most
    while True:
        cost = {b: largest / b * once[b] for b in _powers(SMALLEST, largest)}
        sizes = _powers(SMALLEST, largest // 2)
        if _seconds(cost, sizes, largest, FEWEST_SETS, cuts, compared) <= seconds:
            break
        if largest // 2 < min(GOOD, most):
            break
        largest //= 2
    while len(sizes) > 1 and _seconds(cost, sizes, largest, FEWEST_SETS, cuts, compared) > seconds:
        sizes = sizes[1:]
    needed = _seconds(cost, sizes, largest, FEWEST_SETS, cuts, compared)
    refuse_beyond(needed, seconds)
    sets = FEWEST_SETS
    while (
        sets < min(MOST_SETS, pool.samples // largest)
        and _seconds(cost, sizes, largest, sets + 1, cuts, compared) <= seconds
    ):
        sets += 1
    whole = _seconds(cost, sizes, largest, sets, cuts, compared)
    skipped = tuple(b for b in every if b != largest and b not in sizes)
    return Plan(sets, largest, tuple(sizes), skipped, cost, whole)


def _seconds(
    cost: Mapping[int, float],
    sizes: Sequence[int],
    largest: int,
    sets: int,
    cuts: int,
    compared: int,
) -> float:
    """All cuts of all sets, the sets as a whole, and twice the replaced norms."""
    each = sum(cost[b] for b in sizes)
    return sets * (cuts * each + cost[largest]) + 2 * compared * (each + cost[largest])


def _times(ask: Ask, pool: Samples, sizes: Sequence[int], seconds: float) -> dict[int, float]:
    """Seconds of one batch of each size: measured while there is time for it, then in proportion to the last that was."""
    began = now()
    found: dict[int, float] = {}
    for size in sizes:
        last = sizes[len(found) - 1]
        if len(found) >= MEASURED and now() - began > seconds:
            found[size] = found[last] * size / last
        else:
            found[size] = _time(ask, pool, size)
    return found


def _time(ask: Ask, pool: Samples, size: int) -> float:
    """Of one batch; the first may allocate and choose kernels."""
    batch = pool.take(torch.arange(size))
    once = float("inf")
    for _ in range(2):
        began = now()
        ask(batch)
        once = min(once, now() - began)
    return once


def _powers(first: int, last: int) -> list[int]:
    found: list[int] = []
    while first <= last:
        found.append(first)
        first *= 2
    return found


def _power(n: int) -> int:
    """The largest power of two that is not above n."""
    return 1 << (n.bit_length() - 1) if n > 0 else 0
