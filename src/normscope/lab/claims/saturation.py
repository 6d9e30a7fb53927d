# pyright: basic
"""Batch normalization keeps sigmoid and tanh out of their flat tails."""

from __future__ import annotations

import torch
from matplotlib.axes import Axes
from torch import Tensor, nn

from normscope.lab import figures, networks
from normscope.lab.claim import EXPLAINED, Cell, Claim, Judgement, Numbers, Results, Scale
from normscope.lab.data import Data
from normscope.lab.training import EVALUATED, Run, tuned
from normscope.lab.verdicts import below, difference, judgement, together

ACTIVATIONS = ("sigmoid", "tanh")
GAINS = (1.0, 5.0)


def cells(scale: Scale) -> list[dict[str, object]]:
    made = {
        "batch": 32,
        "epochs": scale.epochs(6),
        "rates": [0.3, 0.1, 0.03, 0.01],
        "seeds": scale.seed_list(),
    }
    return [
        {"arm": k, "activation": a, "gain": g, **made}
        for a in ACTIVATIONS
        for g in GAINS
        for k in ("batch", "none")
    ]


def measure(cell: Cell, data: Data) -> Numbers:
    sizes = (data.features, 64, 64, 64, data.classes)

    def build(members):
        return networks.mlp(
            members, sizes, kind=cell["arm"], activation=cell["activation"], gain=cell["gain"]
        )

    return tuned(cell, data, build, also=_saturated)


@torch.no_grad()
def _saturated(run: Run) -> dict[str, Tensor]:
    """The percentage of values in the hidden layers, on up to 512 test images, where the slope is below a twentieth of its maximum."""
    x, _ = run.batch(run.splits.test[:, :EVALUATED])
    shares = []
    for module in run.network:
        x = module(x)
        if isinstance(module, nn.Sigmoid | nn.Tanh):
            slope = 4 * x * (1 - x) if isinstance(module, nn.Sigmoid) else 1 - x * x
            shares.append((run.members.apart(slope) < 0.05).float().mean((0, 2)) * 100)
    return {"saturated": torch.stack(shares).mean(0)}


def judge(results: Results) -> Judgement:
    family = len(ACTIVATIONS) * len(GAINS)
    found = {}
    for a in ACTIVATIONS:
        for g in GAINS:
            ours, others = (
                results.one(arm=k, activation=a, gain=g)["saturated"] for k in ("batch", "none")
            )
            found[a, g] = difference(ours, others, family=family)
    verdict = together({f"{a} starts at gain {g:g}": below(e, -5.0) for (a, g), e in found.items()})
    told = []
    for (a, g), e in found.items():
        accuracy = [
            sum(v := results.one(arm=k, activation=a, gain=g)["test"]) / len(v)
            for k in ("batch", "none")
        ]
        told.append(
            f"{a}, gain {g:g}: saturated share changed by {e}; test accuracy {accuracy[0]:.1f} with and {accuracy[1]:.1f} % without batch norm."
        )
    return judgement(
        verdict,
        "share of saturated tanh values with batch norm against without, weights five times too large",
        found["tanh", 5.0],
        *told,
    )


def draw(results: Results, axes: Axes) -> None:
    arms = {
        f"{figures.NAMES[k]}\n{a}, gain {g:g}": results.one(arm=k, activation=a, gain=g)[
            "saturated"
        ]
        for a in ACTIVATIONS
        for g in GAINS
        for k in ("batch", "none")
    }
    figures.dots(axes, arms, unit="saturated values, %")


CLAIM = Claim(
    name="saturation",
    seeds=(EXPLAINED,),
    says="Normalized activations stay away from the flat tails of sigmoid and tanh.",
    design="Perceptrons with three hidden layers, weights of standard deviation 1/√n and five times that, batch 32, 6 epochs, learning rate tuned. On test images "
    "the share of hidden values whose slope is below a twentieth of the largest.",
    arms=("batch", "none"),
    rule="For each activation and gain: holds when batch norm lowers the saturated share by at least 5 points with an interval below 0 (Bonferroni over the four).",
    plot="The saturated share by activation, gain and norm, after training.",
    rests="NS506 saturated-activation, which is stricter than the measure here: a warning from 80 % of the values where the slope is below a hundredth of the steepest, or half of the units at one end.",
    literature="Ioffe and Szegedy 2015: Inception with sigmoid reaches 69.8 % with batch norm and stays at chance without; their depth and data are far from ours.",
    cells=cells,
    measure=measure,
    judge=judge,
    draw=draw,
)
