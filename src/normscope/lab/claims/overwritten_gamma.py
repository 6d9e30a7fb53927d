# pyright: basic
"""A generic initializer that overwrites γ."""

from __future__ import annotations

import torch
from matplotlib.axes import Axes
from torch import nn

from normscope.lab import figures, networks
from normscope.lab.claim import FAILING, Cell, Claim, Judgement, Numbers, Results, Scale
from normscope.lab.data import Data
from normscope.lab.members import Members
from normscope.lab.training import tuned
from normscope.lab.verdicts import above, difference, judgement, together

ARMS = {
    "γ = 1": (1.0, 0.0),
    "γ ~ N(1, 0.02²)": (1.0, 0.02),
    "γ ~ N(0, 0.02²)": (0.0, 0.02),
    "γ ~ N(0, 1)": (0.0, 1.0),
}
DEPTHS = (3, 8)


def cells(scale: Scale) -> list[dict[str, object]]:
    made = {
        "batch": 32,
        "epochs": scale.epochs(5),
        "rates": [1.0, 0.3, 0.1, 0.03, 0.01],
        "seeds": scale.seed_list(),
    }
    return [{"arm": a, "depth": d, **made} for a in ARMS for d in DEPTHS]


def measure(cell: Cell, data: Data) -> Numbers:
    middle, spread = ARMS[cell["arm"]]

    def build(members: Members) -> nn.Module:
        network = networks.mlp(members, (data.features, *[48] * cell["depth"], data.classes))
        for layer in network.modules():
            if isinstance(layer, networks.BatchNorm):
                with torch.no_grad():
                    layer.weight.copy_(middle + spread * members.normal(48).flatten())
        return network

    return tuned(cell, data, build)


def judge(results: Results) -> Judgement:
    lost = {
        (a, d): difference(
            results.one(arm="γ = 1", depth=d)["test"], results.one(arm=a, depth=d)["test"], family=6
        )
        for a in list(ARMS)[1:]
        for d in DEPTHS
    }
    verdict = together({f"{a} in {d} layers": above(e, 1.0) for (a, d), e in lost.items()}, when="")
    told = [f"{a}, {d} layers: {e} lost against γ = 1." for (a, d), e in lost.items()]
    return judgement(
        verdict, "accuracy lost by γ ~ N(0, 0.02²) in 8 layers", lost["γ ~ N(0, 0.02²)", 8], *told
    )


def draw(results: Results, axes: Axes) -> None:
    arms = {f"{a}\n{d} layers": results.one(arm=a, depth=d)["test"] for d in DEPTHS for a in ARMS}
    figures.dots(axes, arms, unit="test accuracy, %")


CLAIM = Claim(
    name="overwritten-gamma",
    seeds=(FAILING,),
    says="A custom initializer that is not made for batch normalization, and overwrites its γ, harms learning.",
    design="Perceptrons with 3 and 8 hidden layers; γ as PyTorch sets it, as DCGAN's initializer does, N(1, 0.02²), as one for weights does, N(0, 0.02²), "
    "and N(0, 1). Batch 32, 5 epochs, learning rate tuned.",
    arms=tuple(ARMS),
    rule="For each initializer and depth: holds when at least 1 point of test accuracy is lost against γ = 1, with an interval above 0 (Bonferroni over the six).",
    plot="Test accuracy by how γ began, for both depths.",
    rests="NS204 reinitialized-gamma: a warning when in more than half of the norms γ lies around 0 with a root mean square below 0.25; silent at N(1, 0.02²), and N(0, 1) is an info at most.",
    literature="No measured number; old versions of Torch drew γ from U(0, 1) and trained.",
    cells=cells,
    measure=measure,
    judge=judge,
    draw=draw,
)
