# pyright: basic
"""Batch normalization, dropout and weight decay together."""

from __future__ import annotations

from matplotlib.axes import Axes

from normscope.lab import figures, networks
from normscope.lab.claim import DOES_IT, Cell, Claim, Judgement, Numbers, Results, Scale
from normscope.lab.data import Data
from normscope.lab.training import tuned
from normscope.lab.verdicts import below, difference, judgement

ARMS = {
    "neither": (0.0, 0.0),
    "dropout": (0.5, 0.0),
    "weight decay": (0.0, 0.01),
    "both": (0.5, 0.01),
}
NORMS = ("batch", "none")


def cells(scale: Scale) -> list[dict[str, object]]:
    made = {
        "batch": 32,
        "epochs": scale.epochs(10),
        "rates": [0.3, 0.1, 0.03, 0.01],
        "seeds": scale.seed_list(),
    }
    return [
        {"arm": a, "norm": n, "dropped": p, "weight_decay": d, **made}
        for n in NORMS
        for a, (p, d) in ARMS.items()
    ]


def measure(cell: Cell, data: Data) -> Numbers:
    sizes = (data.features, 64, 64, 64, data.classes)
    return tuned(
        cell, data, lambda m: networks.mlp(m, sizes, kind=cell["norm"], dropout=cell["dropped"])
    )


def judge(results: Results) -> Judgement:
    def of(norm: str, arm: str, what: str) -> list[float]:
        return results.one(arm=arm, norm=norm)[what]

    lost = difference(of("batch", "both", "test"), of("batch", "neither", "test"), family=2)
    fitted = difference(of("batch", "both", "train"), of("batch", "neither", "train"), family=2)
    other = difference(of("none", "both", "test"), of("none", "neither", "test"))
    answers = below(lost, -1.0), below(fitted, -1.0)
    verdict = (
        "holds"
        if answers == ("holds", "holds")
        else "does not hold"
        if "does not hold" in answers
        else "undecided"
    )
    told = [
        f"Both on top of batch norm: training accuracy {fitted}, test accuracy {lost}; on top of no norm test accuracy {other}.",
        *(
            f"{n}: {a} {sum(v := of(n, a, 'test')) / len(v):.1f} % on test images."
            for n in NORMS
            for a in ARMS
        ),
    ]
    return judgement(
        verdict,
        "accuracy with dropout 0.5 and weight decay 0.01 on top of batch norm, against neither",
        lost,
        *told,
    )


def draw(results: Results, axes: Axes) -> None:
    arms = {
        f"{a}\n{figures.NAMES[n]}": results.one(arm=a, norm=n)["test"] for n in NORMS for a in ARMS
    }
    figures.dots(axes, arms, unit="test accuracy, %")


CLAIM = Claim(
    name="over-regularization",
    seeds=(DOES_IT,),
    says="Batch norm together with dropout and weight decay regularizes too much: the model underfits.",
    design="Perceptrons with three hidden layers of 64 with batch norm and without; dropout 0.5 behind each hidden layer, weight decay 0.01 (SGD), both, neither. Batch 32, 10 epochs, "
    "learning rate tuned.",
    arms=tuple(ARMS),
    rule="Holds when with batch norm both together cost at least 1 point of training accuracy and 1 point of test accuracy against neither, with intervals below 0 (Bonferroni over the two).",
    plot="Test accuracy by regularizers, with batch norm and without.",
    rests="NS605 over-regularized: a training loss of at least 20 % of the best constant answer's, a tenth of which is gained without one regularizer; the probe `regularization` switches each off in turn.",
    literature="Ioffe and Szegedy 2015 removed dropout and cut weight decay to a fifth when they added batch norm. CaffeNet with batch norm: dropout 0.5 0.499, 0.2 0.527, none 0.513.",
    cells=cells,
    measure=measure,
    judge=judge,
    draw=draw,
)
