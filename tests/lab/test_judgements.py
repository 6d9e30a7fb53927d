"""The rules of single claims, on made-up results on either side."""

from __future__ import annotations

import pytest

from normscope.lab import table
from normscope.lab.claim import QUICK, Results

SPREAD = (-0.05, -0.02, 0.0, 0.02, 0.05)


def told(name: str, numbers):
    """The verdict of a claim when `numbers(cell)` was measured."""
    claim = table.of_name(name)
    return claim.judge(Results([(c, numbers(c)) for c in claim.cells(QUICK)]))


def seeds(middle: float, turn: int = 0) -> list[float]:
    """Five seeds about `middle`; cells that are compared are turned differently, so that their differences have a width."""
    turn %= len(SPREAD)
    return [middle + s for s in (*SPREAD[turn:], *SPREAD[:turn])]


def by_batch(levels):
    """Numbers of the shared batch sweep: `levels[arm](batch)`."""

    def numbers(cell):
        middle = levels[cell["arm"]](cell["batch"])
        turn = ARMS.index(cell["arm"]) + cell["batch"].bit_length()
        return {"test": seeds(middle, turn), "recomputed": seeds(middle), "rate": 0.1}

    return numbers


ARMS = ("batch", "group", "layer", "none")
FLAT = lambda batch: 96.0  # noqa: E731
BROKEN = {
    "batch": lambda b: 40.0 if b == 2 else 90.0 if b == 4 else 96.0,
    "group": FLAT,
    "layer": FLAT,
    "none": FLAT,
}
SOUND = dict.fromkeys(ARMS, FLAT)


@pytest.mark.parametrize(
    ("name", "levels", "verdict"),
    [
        ("small-batch", BROKEN, "holds when the batch is 4 or less"),
        ("small-batch", SOUND, "does not hold"),
        ("removing-norm", BROKEN, "holds when the batch is 4 or less"),
        ("removing-norm", SOUND, "does not hold"),
        ("layer-norm-batch", BROKEN, "holds"),
        ("layer-norm-batch", SOUND, "does not hold"),
        ("group-norm-batch", BROKEN, "holds"),
        (
            "group-norm-batch",
            BROKEN | {"group": lambda b: 96.0 if b > 4 else 80.0},
            "does not hold",
        ),
        ("batch-32", SOUND, "does not hold"),
        ("batch-32", SOUND | {"batch": lambda b: 96.0 if b > 32 else 90.0}, "holds"),
    ],
)
def test_the_batch_sweep(name, levels, verdict):
    assert told(name, by_batch(levels)).verdict == verdict


def test_a_wide_spread_leaves_it_undecided():
    def numbers(cell):
        wide = [96 + 200 * s * (1 if cell["arm"] == "batch" else -1) for s in SPREAD]
        return {"test": wide, "recomputed": wide, "rate": 0.1}

    judged = told("small-batch", numbers)
    assert judged.verdict == "undecided"
    assert judged.low is not None
    assert judged.low < 0 < judged.high


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        (96.0, 94.0, "holds"),
        (96.0, 96.0, "does not hold"),
        (94.0, 96.0, "does not hold"),
        (96.0, 95.5, "undecided"),
    ],
)
def test_the_order_of_relu(before, after, verdict):
    level = {"before": before, "after": after}

    def numbers(cell):
        return {"test": seeds(level[cell["arm"]], cell["arm"] == "before"), "rate": 0.1}

    assert told("relu-order", numbers).verdict == verdict


@pytest.mark.parametrize(
    ("plain", "residual", "verdict"),
    [
        (10.0, 96.0, "holds when there is no residual connection around it"),
        (10.0, 80.0, "holds"),
        (96.0, 96.0, "does not hold"),
    ],
)
def test_zero_gamma(plain, residual, verdict):
    def numbers(cell):
        zero = {"plain": plain, "residual": residual}[cell["path"]]
        values = seeds(zero, 1) if cell["arm"] == "γ = 0" else seeds(96.0)
        return {"test": values, "rates": [0.3, 0.1], "test_by_rate": [values, values]}

    assert told("zero-gamma", numbers).verdict == verdict


@pytest.mark.parametrize(
    ("plain", "residual", "verdict"),
    [
        (1.21, 1.05, "holds when there are residual connections"),
        (1.01, 1.01, "holds"),
        (1.21, 1.21, "does not hold"),
        (0.8, 0.8, "does not hold"),
    ],
)
def test_gradients_through_depth(plain, residual, verdict):
    def numbers(cell):
        growth = residual if cell["arm"] == "batch residual" else plain
        values = [growth + s / 20 for s in SPREAD]
        return {f"growth {s}": values for s in (0, 1, 10)}

    assert told("gradient-depth", numbers).verdict == verdict
