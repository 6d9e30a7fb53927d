"""A claim: one statement, the experiment that tries it, and the rule by which it is judged. Imports no framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from normscope.errors import NormscopeError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from normscope.lab.data import Data

Cell = Mapping[
    str, Any
]  # an arm in a setting, with everything that its numbers depend on: plain JSON
Numbers = Mapping[str, Any]  # what was measured there: numbers, and lists of them by seed
ScaleName = Literal["quick", "full"]


@dataclass(frozen=True, slots=True)
class Scale:
    """How long an experiment is: `seeds` a cell, and `stretch` times the epochs of the quick one."""

    name: ScaleName
    seeds: int
    stretch: int

    def epochs(self, quick: int) -> int:
        return quick * self.stretch

    def seed_list(self, quick: int | None = None) -> list[int]:
        """As many as this scale has; of a costly experiment `quick`, and as many more as the scale has more."""
        few = QUICK.seeds if quick is None else quick
        return list(range(few + self.seeds - QUICK.seeds))


QUICK = Scale("quick", seeds=10, stretch=1)
FULL = Scale("full", seeds=20, stretch=3)
SCALES: Mapping[ScaleName, Scale] = {s.name: s for s in (QUICK, FULL)}


@dataclass(frozen=True, slots=True)
class Judgement:
    """`verdict`: holds, "holds when …", does not hold, or undecided.

    `value` in `unit` is the effect that `what` names, between `low` and `high` with 95 % confidence; `details` are sentences with the numbers behind it.
    """

    verdict: str
    what: str
    value: float | None
    low: float | None
    high: float | None
    unit: str
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Results:
    """The cells of one experiment that have been measured."""

    rows: Sequence[tuple[Cell, Numbers]]

    def all(self, **where: Any) -> list[tuple[Cell, Numbers]]:
        """Those whose parameters are as given, in the order of the design."""
        return [r for r in self.rows if all(r[0].get(k) == v for k, v in where.items())]

    def one(self, **where: Any) -> Numbers:
        """The numbers of the only such cell. Raises KeyError where there is none, or more than one."""
        found = self.all(**where)
        if len(found) != 1:
            raise KeyError(f"{len(found)} cells with {where}")
        return found[0][1]

    def settings(self, name: str) -> list[Any]:
        """The different values of a parameter, in the order of the design."""
        return list(dict.fromkeys(c[name] for c, _ in self.rows if name in c))


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """`says` the claim in our words, `seeds` the documents that make it.

    `rule` tells in words how `judge` decides; both stand here before there are data. Claims that look at the same runs name one
    `experiment`. `note` tells why the verdict differs from the literature's; `mended` what of rule, design or telling was changed after a
    first look at data, and why.
    """

    name: str
    seeds: tuple[str, ...]
    says: str
    design: str
    arms: tuple[str, ...]
    rule: str
    plot: str
    rests: str
    literature: str
    cells: Callable[[Scale], list[dict[str, Any]]]
    measure: Callable[[Cell, Data], Numbers]
    judge: Callable[[Results], Judgement]
    draw: Callable[[Results, Axes], None]
    experiment: str = ""
    note: str = ""
    mended: str = ""
    digits_only: bool = field(default=False)

    @property
    def runs(self) -> str:
        """The name under which its cells are stored."""
        return self.experiment or self.name

    @property
    def seed(self) -> str:
        return ", ".join(self.seeds)


FAILING = "000_1499bd42e403f3ac.txt"
HINDERING = "001_9d3f12de255004d8.txt"
DOES_IT = "002_2494e24a39be7f46.txt"
EXPLAINED = "003_a148082931e9a771.txt"


def scale_of(name: str) -> Scale:
    """Raises NormscopeError for an unknown one."""
    for known, scale in SCALES.items():
        if known == name:
            return scale
    raise NormscopeError(f"`--scale {name}`: there is no such scale. Write quick or full.")
