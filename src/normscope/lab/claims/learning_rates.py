# pyright: basic
"""The range of learning rates that batch normalization keeps usable."""

from __future__ import annotations

import math

from matplotlib.axes import Axes

from normscope.lab import figures, networks
from normscope.lab.claim import DOES_IT, EXPLAINED, Cell, Claim, Judgement, Numbers, Results, Scale
from normscope.lab.data import Data
from normscope.lab.training import tuned
from normscope.lab.verdicts import above, difference, judgement, together

RATES = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
BATCHES = (4, 64)
NEAR = 3.0  # points below its own best that are called usable


def cells(scale: Scale) -> list[dict[str, object]]:
    made = {"epochs": scale.epochs(6), "rates": list(RATES), "seeds": scale.seed_list(5)}
    return [{"arm": a, "batch": b, **made} for b in BATCHES for a in ("batch", "none")]


def measure(cell: Cell, data: Data) -> Numbers:
    return tuned(
        cell,
        data,
        lambda m: networks.mlp(m, (data.features, *[64] * 4, data.classes), kind=cell["arm"]),
    )


def largest(numbers: Numbers) -> list[float]:
    """By seed: log₁₀ of the largest learning rate that comes within `NEAR` points of the seed's best.

    Between the last rate of the grid that does and the first that does not, accuracy is taken to fall evenly over the logarithm.
    """
    found = []
    for seed in range(len(numbers["test"])):
        of_seed = [row[seed] for row in numbers["test_by_rate"]]
        found.append(_crossing(numbers["rates"], of_seed))
    return found


def _crossing(rates: list[float], accuracies: list[float]) -> float:
    """`rates` from large to small."""
    bar = max(accuracies) - NEAR
    i = next(k for k, v in enumerate(accuracies) if v >= bar)
    inside = math.log10(rates[i])
    if i == 0:
        return inside
    part = (accuracies[i] - bar) / (accuracies[i] - accuracies[i - 1])
    return inside + part * (math.log10(rates[i - 1]) - inside)


def judge(results: Results) -> Judgement:
    found, best = {}, {}
    for b in BATCHES:
        ours, others = (results.one(arm=a, batch=b) for a in ("batch", "none"))
        found[b] = difference(largest(ours), largest(others), family=len(BATCHES), unit="decades")
        best[b] = difference(ours["test"], others["test"], family=len(BATCHES))
    verdict = together(
        {str(b): above(e, 0.4) for b, e in found.items()}, when="the batch is ", ordered=True
    )
    told = [
        f"Batch {b}: the largest usable learning rate moves by {found[b]}; accuracy at the best one by {best[b]}."
        for b in BATCHES
    ]
    return judgement(
        verdict,
        "largest usable learning rate with batch norm against without, batch 64",
        found[64],
        *told,
    )


def draw(results: Results, axes: Axes) -> None:
    for i, (a, b) in enumerate((a, b) for b in BATCHES for a in ("batch", "none")):
        numbers = results.one(arm=a, batch=b)
        y = [sum(v) / len(v) for v in numbers["test_by_rate"]]
        axes.plot(
            numbers["rates"],
            y,
            color=figures.COLOURS[i],
            marker=figures.MARKERS[i],
            label=f"{figures.NAMES[a]}, batch {b}",
        )
    axes.set_xscale("log")
    axes.set(xlabel="learning rate", ylabel="test accuracy, %")
    figures.beside(
        axes, (1.0, 0.3, 0.1), (98, 99, 99), "our earlier check, batch norm, batch 64", like=2
    )
    figures.beside(
        axes, (1.0, 0.3, 0.1), (11, 10, 99), "our earlier check, no norm, batch 64", like=3
    )


CLAIM = Claim(
    name="learning-rates",
    seeds=(DOES_IT, EXPLAINED),
    says="With batch normalization larger learning rates stay safe, and training is less sensitive to them.",
    design="Perceptrons with four hidden layers of 64 at nine learning rates from 0.001 to 10, batches of 4 and 64, 6 epochs. For each seed the largest rate that comes "
    f"within {NEAR:g} points of its best.",
    arms=("batch", "none"),
    rule="At each batch size: holds when the largest usable rate grows by at least 0.4 decades (×2.5) with an interval above 0 (Bonferroni over the two).",
    plot="Test accuracy by learning rate.",
    rests="No rule judges a learning rate. A trial without norm needs an arm such as `lr:x0.3` beside it, for what was usable with batch norm may not be without.",
    literature="Digits with JAX at batch 64: at learning rates 1, 0.3 and 0.1 98, 99 and 99 % with batch norm and 11, 10 and 99 without: a factor of 10, equal best; ours is half as wide and has half the epochs. De and Smith 2020: hardly "
    "any benefit at small batches.",
    mended="The largest usable rate is interpolated within the grid, on which every seed had given the same one, so that there was no spread to make an interval of. 6 epochs and 5 seeds instead of 10 and 6, for the time it took.",
    cells=cells,
    measure=measure,
    judge=judge,
    draw=draw,
)
