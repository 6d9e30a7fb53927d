# pyright: basic
"""Batch normalization tolerates weights of the wrong size."""

from __future__ import annotations

from matplotlib.axes import Axes

from normscope.lab import figures, networks
from normscope.lab.claim import EXPLAINED, Cell, Claim, Judgement, Numbers, Results, Scale
from normscope.lab.data import Data
from normscope.lab.training import tuned
from normscope.lab.verdicts import above, difference, judgement, together

FACTORS = (0.01, 0.1, 0.3, 1.0, 3.0, 10.0)


def cells(scale: Scale) -> list[dict[str, object]]:
    made = {
        "batch": 64,
        "epochs": scale.epochs(6),
        "rates": [1.0, 0.3, 0.1, 0.03, 0.01, 0.001],
        "seeds": scale.seed_list(8),
    }
    return [{"arm": k, "factor": f, **made} for k in ("batch", "none") for f in FACTORS]


def measure(cell: Cell, data: Data) -> Numbers:
    sizes = (data.features, *[48] * 5, data.classes)
    return tuned(
        cell, data, lambda m: networks.mlp(m, sizes, kind=cell["arm"], gain=1.414 * cell["factor"])
    )


def judge(results: Results) -> Judgement:
    lost = {
        k: {
            f: [
                a - b
                for a, b in zip(
                    results.one(arm=k, factor=1.0)["test"],
                    results.one(arm=k, factor=f)["test"],
                    strict=True,
                )
            ]
            for f in FACTORS
            if f != 1
        }
        for k in ("batch", "none")
    }
    kept = {
        f: difference(lost["none"][f], lost["batch"][f], family=len(FACTORS) - 1)
        for f in lost["batch"]
    }
    verdict = together(
        {f"{f:g} times He's": above(e, 5.0) for f, e in kept.items()}, when="the weights start at "
    )
    told = [
        f"{f:g} × He: {sum(lost['none'][f]) / len(lost['none'][f]):.1f} points lost without norm, {sum(lost['batch'][f]) / len(lost['batch'][f]):.1f} with; the difference is {e}."
        for f, e in kept.items()
    ]
    return judgement(
        verdict,
        "accuracy lost to weights a tenth of He's size, without norm minus with batch norm",
        kept[0.1],
        *told,
    )


def draw(results: Results, axes: Axes) -> None:
    arms = {k: [results.one(arm=k, factor=f)["test"] for f in FACTORS] for k in ("batch", "none")}
    figures.lines(
        axes,
        FACTORS,
        arms,
        base=10,
        label="standard deviation of weights / He's",
        unit="test accuracy, %",
    )


CLAIM = Claim(
    name="poor-initialization",
    seeds=(EXPLAINED,),
    says="A network with batch normalization tolerates imperfect weight initialization.",
    design="Perceptrons with five hidden layers of 48, weights from a hundredth of He's size to ten times it; batch 64, 6 epochs, learning rate tuned for each.",
    arms=("batch", "none"),
    rule="For each wrong size: holds when without norm at least 5 points more are lost against He's size than with batch norm, with an interval above 0 "
    "(Bonferroni over the sizes).",
    plot="Test accuracy by the size of the weights at the start.",
    rests="Why no rule of normscope judges the initialization of weights before a batch norm.",
    literature="With batch norm the output does not depend on the weights' scale (exact): gradients at W, 2W, 4W are 0.2629, 0.1315, 0.0657.",
    cells=cells,
    measure=measure,
    judge=judge,
    draw=draw,
)
