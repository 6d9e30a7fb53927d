# pyright: basic
"""AdamW's weight decay with batch normalization, and whether it must be tuned again when the norm goes."""

from __future__ import annotations

from matplotlib.axes import Axes

from normscope.lab import figures, networks
from normscope.lab.claim import DOES_IT, HINDERING, Cell, Claim, Judgement, Numbers, Results, Scale
from normscope.lab.data import Data
from normscope.lab.training import tuned
from normscope.lab.verdicts import Answer, above, difference, judgement, shown

DECAYS = (0.0, 0.01, 0.1, 1.0, 10.0)


def cells(scale: Scale) -> list[dict[str, object]]:
    made = {
        "batch": 32,
        "epochs": scale.epochs(30),
        "train_images": 300,
        "optimizer": "adamw",
        "rates": [0.03, 0.01, 0.003, 0.001],
        "seeds": scale.seed_list(),
    }
    return [{"arm": a, "weight_decay": d, **made} for a in ("batch", "none") for d in DECAYS]


def measure(cell: Cell, data: Data) -> Numbers:
    sizes = (data.features, 64, 64, 64, data.classes)
    return tuned(cell, data, lambda m: networks.mlp(m, sizes, kind=cell["arm"]))


def best_decay(results: Results, arm: str) -> float:
    """Chosen on validation images."""
    return max(
        DECAYS, key=lambda d: max(results.one(arm=arm, weight_decay=d)["validation_by_rate"])
    )


def judge(results: Results) -> Judgement:
    def of(arm: str, decay: float) -> list[float]:
        return results.one(arm=arm, weight_decay=decay)["test"]

    helps = {
        d: difference(of("batch", d), of("batch", 0.0), family=len(DECAYS) - 1) for d in DECAYS[1:]
    }
    with_norm, without = best_decay(results, "batch"), best_decay(results, "none")
    again = difference(of("none", without), of("none", with_norm))
    answers: dict[float, Answer] = {d: above(e, 0.5) for d, e in helps.items()}
    verdict = (
        "holds"
        if answers[0.01] == "holds"
        else "does not hold"
        if answers[0.01] == "does not hold"
        else "undecided"
    )
    larger = [d for d in DECAYS[2:] if answers[d] == "holds"]
    if verdict != "holds" and larger:
        verdict = f"holds when the decay is {' or '.join(f'{d:g}' for d in larger)}, not 0.01"
    told = [f"AdamW with decay {d:g} against 0, batch norm: {e}." for d, e in helps.items()]
    told.append(
        f"Best decay on validation images: {with_norm:g} with batch norm, {without:g} without; tuning it again when the norm goes brings {again}."
    )
    at = shown(answers, 0.01)
    return judgement(
        verdict, f"accuracy of AdamW with decay {at:g} against 0, with batch norm", helps[at], *told
    )


def draw(results: Results, axes: Axes) -> None:
    x = [0.001, *DECAYS[1:]]
    arms = {
        a: [results.one(arm=a, weight_decay=d)["test"] for d in DECAYS] for a in ("batch", "none")
    }
    figures.lines(axes, x, arms, base=10, label="weight decay (left: 0)", unit="test accuracy, %")


CLAIM = Claim(
    name="weight-decay",
    seeds=(HINDERING, DOES_IT),
    says="AdamW with weight decay 0.01 steadies training with batch norm and helps against overfitting; without batch norm the decay must be adjusted.",
    design="Perceptrons with three hidden layers of 64 on 300 training images, AdamW, batch 32, 30 epochs, decay from 0 to 10 on all parameters, learning rate tuned for each.",
    arms=("batch", "none"),
    rule="Holds when decay 0.01 gains at least 0.5 points against 0 with batch norm, with an interval above 0 (Bonferroni over the four decays); another decay that does is named.",
    plot="Test accuracy by weight decay, with batch norm and without.",
    rests="NS208 weight-decay-on-norm is off by default.",
    literature="Van Laarhoven 2017: before batch norm decay sets the effective learning rate and regularizes nothing by itself. Summers and Dinneen 2020: decay on γ and β +0.3 points on CIFAR-100.",
    cells=cells,
    measure=measure,
    judge=judge,
    draw=draw,
)
