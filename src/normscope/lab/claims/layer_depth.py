# pyright: basic
"""Do early layers gain less from batch normalization, and are deep ones more fragile at small batches?"""

from __future__ import annotations

from matplotlib.axes import Axes
from torch import nn

from normscope.lab import figures, networks
from normscope.lab.claim import FAILING, Cell, Claim, Judgement, Numbers, Results, Scale
from normscope.lab.data import Data
from normscope.lab.members import Members
from normscope.lab.training import tuned
from normscope.lab.verdicts import above, difference, judgement

LAYERS = 6
PLACES = {"none": (), "first": (0, 1), "last": (4, 5)}
BATCHES = (3, 64)


def cells(scale: Scale) -> list[dict[str, object]]:
    made = {
        "epochs": scale.epochs(4),
        "rates": [0.3, 0.1, 0.03, 0.01, 0.003],
        "seeds": scale.seed_list(6),
    }
    return [{"arm": a, "batch": b, **made} for b in BATCHES for a in PLACES]


def measure(cell: Cell, data: Data) -> Numbers:
    return tuned(cell, data, lambda m: _network(m, data, PLACES[cell["arm"]]))


def _network(members: Members, data: Data, normed: tuple[int, ...]) -> nn.Module:
    layers: list[nn.Module] = []
    width = data.features
    for i in range(LAYERS):
        layers += [
            networks.Linear(members, width, 48),
            networks.norm("batch" if i in normed else "none", members, 48),
            nn.ReLU(),
        ]
        width = 48
    return nn.Sequential(*layers, networks.Linear(members, width, data.classes, gain=1.0))


def judge(results: Results) -> Judgement:
    def of(place: str, batch: int) -> list[float]:
        return results.one(arm=place, batch=batch)["test"]

    gain = difference(of("last", 64), of("first", 64), family=2)
    lost = {
        p: [a - b for a, b in zip(of("none", 3), of(p, 3), strict=True)] for p in ("first", "last")
    }
    fragile = difference(lost["last"], lost["first"], family=2)
    answers = above(gain, 0.5), above(fragile, 0.5)
    if answers == ("holds", "holds"):
        verdict = "holds"
    elif answers[1] == "holds":
        verdict = "holds when it is about fragility: the last layers lose more at batch 3, but do not gain more at batch 64"
    elif answers[0] == "holds":
        verdict = "holds when it is about the gain at batch 64, not about fragility at batch 3"
    else:
        verdict = "does not hold" if set(answers) == {"does not hold"} else "undecided"
    told = [
        f"Batch 64: batch norm in the last two layers against the first two {gain}; without any {sum(of('none', 64)) / len(of('none', 64)):.1f} %.",
        f"Batch 3: lost against no norm {sum(lost['first']) / len(lost['first']):.2f} points in the first two layers, {sum(lost['last']) / len(lost['last']):.2f} in the last two.",
    ]
    if answers[1] != "holds" and answers[0] == "holds":
        what = "accuracy gained at batch 64 by batch norm in the last two layers beyond that in the first two"
        return judgement(verdict, what, gain, *told)
    what = (
        "accuracy lost at batch 3 by batch norm in the last two layers beyond that in the first two"
    )
    return judgement(verdict, what, fragile, *told)


def draw(results: Results, axes: Axes) -> None:
    arms = {
        f"{'no norm' if p == 'none' else f'in the {p} two'}\nbatch {b}": results.one(
            arm=p, batch=b
        )["test"]
        for b in BATCHES
        for p in PLACES
    }
    figures.dots(axes, arms, unit="test accuracy, %")


CLAIM = Claim(
    name="layer-depth",
    seeds=(FAILING,),
    says="In early layers normalization is less influential; in deep layers it is more effective, and more fragile when the batch is too small.",
    design=f"Perceptrons with {LAYERS} hidden layers of 48; batch norm in the first two, the last two, or none; batches of 64 and of 3; 4 epochs, learning rate tuned.",
    arms=tuple(PLACES),
    rule="Holds when the last two gain at least 0.5 points more than the first two at batch 64, and lose at least 0.5 points more at batch 3, both with intervals above 0; the half "
    "that holds is named when it is one.",
    plot="Test accuracy by where batch norm stands, at both batch sizes.",
    rests="NS301 reports every layer alike; the probe `batch_size` asks each depth of the user's own network.",
    literature="No measured number.",
    mended="4 epochs and 6 seeds instead of 6 and 8, for the time it took.",
    cells=cells,
    measure=measure,
    judge=judge,
    draw=draw,
)
