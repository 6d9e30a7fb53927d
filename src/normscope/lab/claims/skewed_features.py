# pyright: basic
"""Skewed, sparse and low-variance features, and a wide model on the latter."""

from __future__ import annotations

import torch
from matplotlib.axes import Axes
from torch import Tensor

from normscope.lab import figures, networks
from normscope.lab.claim import DOES_IT, HINDERING, Cell, Claim, Judgement, Numbers, Results, Scale
from normscope.lab.data import Data
from normscope.lab.training import tuned
from normscope.lab.verdicts import Answer, Effect, below, difference, judgement, shown, together

KINDS = ("as they are", "skewed", "sparse", "low variance", "low variance, wide model")
ARMS = ("batch", "layer", "none")


def cells(scale: Scale) -> list[dict[str, object]]:
    made = {
        "batch": 32,
        "epochs": scale.epochs(8),
        "rates": [3.0, 0.3, 0.1, 0.03, 0.01, 0.003],
        "seeds": scale.seed_list(6),
    }
    return [{"arm": a, "features": k, **made} for k in KINDS for a in ARMS]


def changed(images: Tensor, kind: str) -> Tensor:
    """Skewed: exp(2x), a few pixels hold most of the variance. Sparse: only what exceeds 1.2 standard deviations. Low variance: a thousandth, about 1."""
    match kind.split(",")[0]:
        case "skewed":
            return torch.exp(2 * images)
        case "sparse":
            return (images - 1.2).clamp(min=0)
        case "low variance":
            return 1 + images / 1000
    return images


def measure(cell: Cell, data: Data) -> Numbers:
    kind = cell["features"]
    width = 192 if kind.endswith("wide model") else 64
    sizes = (data.features, width, width, data.classes)
    made = Data(data.name, changed(data.images, kind), data.labels)
    return tuned(cell, made, lambda m: networks.mlp(m, sizes, kind=cell["arm"]))


def judge(results: Results) -> Judgement:
    def against(other: str) -> dict[str, Effect]:
        return {
            k: difference(
                results.one(arm="batch", features=k)["test"],
                results.one(arm=other, features=k)["test"],
                family=len(KINDS),
            )
            for k in KINDS
        }

    none, layer = against("none"), against("layer")
    answers: dict[str, Answer] = {k: below(e, -1.0) for k, e in none.items() if k != KINDS[0]}
    verdict, at = together(answers, when="the features are "), shown(answers, "skewed")
    told = [
        f"Features {k}: batch norm against none {none[k]}, against layer norm {layer[k]}."
        for k in KINDS
    ]
    return judgement(
        verdict, f"accuracy with batch norm against none, features {at}", none[at], *told
    )


def draw(results: Results, axes: Axes) -> None:
    for i, a in enumerate(ARMS):
        for j, k in enumerate(KINDS):
            values = results.one(arm=a, features=k)["test"]
            x = [j + 0.22 * (i - 1)] * len(values)
            axes.plot(
                x,
                values,
                figures.MARKERS[i],
                color=figures.COLOURS[i],
                alpha=0.7,
                label=figures.NAMES[a] if j == 0 else None,
            )
    axes.set_xticks(range(len(KINDS)), [k.replace(", ", ",\n") for k in KINDS])
    axes.set_ylabel("test accuracy, %")


CLAIM = Claim(
    name="skewed-features",
    seeds=(HINDERING, DOES_IT),
    says="On highly skewed, sparse or low-variance features batch normalization may not help, or hurt, the more with an expressive model.",
    design="Digits as they are; exp(2x) of the pixels (skewed); only what exceeds 1.2 standard deviations (sparse); a thousandth of the variation around 1 (low variance), the last also with three "
    "times the width. None is standardized. Perceptrons with two hidden layers, batch 32, 8 epochs, learning rate tuned.",
    arms=ARMS,
    rule="For each kind of features: holds when batch norm is at least 1 point below no norm, with an interval below 0 (Bonferroni over the kinds).",
    plot="Test accuracy by features and norm.",
    rests="NS505 unscaled-input: half of the channels vary by less than ε, or one has a root mean square above 10 before a saturated sigmoid or tanh; NS502 collapsed-variance: half of the channels below ε. Skewed or sparse inputs are no finding.",
    literature="Exponential features (kurtosis 9) have twice the noise of Gaussian ones in a batch's variance: Var(s²)/σ⁴ = (κ − 1 + 2/(n − 1))/n. No measured accuracy.",
    note="Nowhere does batch norm hurt against no norm with confidence; on unstandardized low-variance features it is what makes training possible at all, for it removes the common offset. The verdict is undecided "
    "for sparse features alone.",
    cells=cells,
    measure=measure,
    judge=judge,
    draw=draw,
)
