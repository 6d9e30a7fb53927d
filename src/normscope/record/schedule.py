"""When to measure: observing pays for itself out of a share of the loop's own time."""

from __future__ import annotations

from math import log2
from time import perf_counter

from normscope.record.recording import Cost

# What a loop loses for each second that the clock around our own code shows: caches are colder after it, and wrappers of
# which nothing is charged run. Measured: 1.2 to 2.4 on ResNet-50, 2 to 3 on the counted steps of an MLP.
UNSEEN = 2.0
CREDIT = 0.025  # seconds: the first steps of a run are the ones that tell most
ENOUGH = 32  # measurements of a kind while the steps grow e-fold: more tell nothing new
RESERVED = 0.3  # share of the budget that book-keeping cannot use up
KEEPING = 0.1  # share of the budget for the inputs of a known loop that are copied
DOUBLING = 2e-3  # seconds more for these with each doubling of the steps: batches from all of a run, however short it is


def spaced(step: int, latest: int) -> bool:
    """Whether `step` is so far behind the latest one that was measured as is worth another: by a 32nd of all steps until now."""
    return step - latest >= step // ENOUGH


class Schedule:
    """A purse that fills with `budget` × the time the loop took and pays for every measurement.

    Book-keeping that is always done is charged too, so that what can be chosen gives way first; it never gives way
    altogether: a part of the budget stays for measurements, however short the steps are.
    """

    def __init__(self, budget: float) -> None:
        self.budget = budget
        self.observing = 0.0
        self.measuring = 0.0
        self.keeping = 0.0
        self.startup = 0.0
        self._began: float | None = None
        self._latest = 0.0

    def begin(self) -> None:
        """The observed loop starts: with the first forward."""
        if self._began is None:
            self._began = perf_counter()

    def charge(self, seconds: float, *, measuring: bool = False) -> None:
        """Count time spent observing inside the loop, with what it costs unseen; `measuring` when it could be left out."""
        self.observing += UNSEEN * seconds
        if measuring:
            self.measuring += UNSEEN * seconds
        self._latest = perf_counter()

    def charge_startup(self, seconds: float) -> None:
        """Count time spent once: outside the budget, stated on its own. The loop's clock is set on by as much."""
        self.startup += seconds
        if self._began is not None:
            self._began += seconds

    @property
    def loop(self) -> float:
        """Seconds since the loop began, without start-up costs."""
        return 0.0 if self._began is None else max(0.0, perf_counter() - self._began)

    def affords(self, seconds: float) -> bool:
        """Whether a measurement of that cost fits into the purse now."""
        purse = self.budget * self.loop
        kept_books = self.observing - self.measuring
        return self.measuring + UNSEEN * seconds <= CREDIT + max(
            purse - kept_books, RESERVED * purse
        )

    def affords_books(self, seconds: float) -> bool:
        """Whether book-keeping that can be left out fits beside everything spent so far."""
        return self.observing + UNSEEN * seconds <= CREDIT + self.budget * self.loop

    def affords_batch(self, seconds: float, step: int) -> bool:
        """Whether the input of a step of a known loop may be copied."""
        credit = DOUBLING * max(1.0, log2(max(step, 1)) - 4)
        return self.keeping + seconds <= credit + KEEPING * self.budget * self.loop

    def cost(self, probing: float = 0.0) -> Cost:
        loop = max(0.0, self._latest - self._began) if self._began is not None else 0.0
        return Cost(
            budget=self.budget,
            observing=self.observing,
            loop=loop,
            startup=self.startup,
            probing=probing,
        )
