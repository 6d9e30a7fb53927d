# pyright: basic
"""Xavier's and He's initialization with batch normalization."""

from __future__ import annotations

from matplotlib.axes import Axes

from normscope.lab import figures, networks
from normscope.lab.claim import HINDERING, Cell, Claim, Judgement, Numbers, Results, Scale
from normscope.lab.data import Data
from normscope.lab.training import tuned
from normscope.lab.verdicts import Answer, above, difference, judgement, shown, together

INITS = {"PyTorch's size": 0.577, "Xavier": 1.0, "He": 1.414}
NORMS = ("batch", "none")


def cells(scale: Scale) -> list[dict[str, object]]:
    made = {
        "batch": 32,
        "epochs": scale.epochs(8),
        "rates": [1.0, 0.3, 0.1, 0.03, 0.01],
        "seeds": scale.seed_list(),
    }
    return [{"arm": a, "norm": n, **made} for n in NORMS for a in INITS]


def measure(cell: Cell, data: Data) -> Numbers:
    sizes = (data.features, *[48] * 6, data.classes)
    return tuned(
        cell, data, lambda m: networks.mlp(m, sizes, kind=cell["norm"], gain=INITS[cell["arm"]])
    )


def judge(results: Results) -> Judgement:
    found = {
        (n, a): difference(
            results.one(arm=a, norm=n)["test"],
            results.one(arm="PyTorch's size", norm=n)["test"],
            family=4,
        )
        for n in NORMS
        for a in ("Xavier", "He")
    }
    answers: dict[str, Answer] = {a: above(found["batch", a], 1.0) for a in ("Xavier", "He")}
    verdict, at = together(answers, when="the initialization is "), shown(answers, "Xavier")
    told = [f"{a} against PyTorch's size, {figures.NAMES[n]}: {e}." for (n, a), e in found.items()]
    return judgement(
        verdict,
        f"accuracy with {at}'s initialization against PyTorch's size, with batch norm",
        found["batch", at],
        *told,
    )


def draw(results: Results, axes: Axes) -> None:
    arms = {
        f"{a}\n{figures.NAMES[n]}": results.one(arm=a, norm=n)["test"] for n in NORMS for a in INITS
    }
    figures.dots(axes, arms, unit="test accuracy, %")


CLAIM = Claim(
    name="xavier-he",
    seeds=(HINDERING,),
    says="Xavier's initialization, or a similar one, mitigates problematic gradients in networks with batch normalization.",
    design="Perceptrons with six hidden layers of 48, with batch norm and without; normal weights of the size that PyTorch's default has (√(1/(3n))), Xavier's √(1/n), He's √(2/n). Batch 32, 8 epochs, learning rate tuned.",
    arms=tuple(INITS),
    rule="For each of the two: holds when with batch norm it gains at least 1 point against PyTorch's size, with an interval above 0 (Bonferroni over four comparisons).",
    plot="Test accuracy by initialization, with batch norm and without.",
    rests="No rule asks for an initialization before a batch norm.",
    literature="With batch norm the output does not depend on the scale of the weights before it (exact); the scale acts on the effective learning rate alone.",
    cells=cells,
    measure=measure,
    judge=judge,
    draw=draw,
)
