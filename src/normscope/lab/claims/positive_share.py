# pyright: basic
"""The share of positive inputs to ReLU, with batch normalization before it and without."""

from __future__ import annotations

import torch
from matplotlib.axes import Axes
from torch import Tensor, nn

from normscope.lab import figures, networks
from normscope.lab.claim import EXPLAINED, Cell, Claim, Judgement, Numbers, Results, Scale
from normscope.lab.data import Data
from normscope.lab.training import EVALUATED, Run, tuned
from normscope.lab.verdicts import Answer, above, difference, judgement, shown, together

INPUTS = {"centred pixels": 0.0, "shifted pixels": 4.0}


def cells(scale: Scale) -> list[dict[str, object]]:
    made = {"batch": 32, "rates": [0.3, 0.1, 0.03, 0.01], "seeds": scale.seed_list()}
    return [
        {"arm": k, "inputs": i, "epochs": e, **made}
        for i in INPUTS
        for e in (1, scale.epochs(8))
        for k in ("batch", "none")
    ]


def measure(cell: Cell, data: Data) -> Numbers:
    shifted = Data(data.name, data.images + INPUTS[cell["inputs"]], data.labels)
    sizes = (data.features, 64, 64, 64, data.classes)
    return tuned(cell, shifted, lambda m: networks.mlp(m, sizes, kind=cell["arm"]), also=_positive)


@torch.no_grad()
def _positive(run: Run) -> dict[str, Tensor]:
    """Percentages over the hidden layers on up to 512 test images: positive inputs to ReLU, and units that are positive for no image."""
    x, _ = run.batch(run.splits.test[:, :EVALUATED])
    shares, dead = [], []
    for module in run.network:
        if isinstance(module, nn.ReLU):
            positive = (run.members.apart(x) > 0).float()
            shares.append(positive.mean((0, 2)) * 100)
            dead.append((positive.amax(0) == 0).float().mean(1) * 100)
        x = module(x)
    return {"positive": torch.stack(shares).mean(0), "dead": torch.stack(dead).mean(0)}


def judge(results: Results) -> Judgement:
    last = results.settings("epochs")[-1]
    found, dead = {}, {}
    for i in INPUTS:
        ours, others = (results.one(arm=k, inputs=i, epochs=last) for k in ("batch", "none"))
        found[i] = difference(ours["positive"], others["positive"], family=2)
        dead[i] = difference(ours["dead"], others["dead"], family=2)
    answers: dict[str, Answer] = {i: above(e, 5.0) for i, e in found.items()}
    at = shown(answers, "centred pixels")
    told = [
        f"{i}: positive share {found[i]}, dead units {dead[i]}, batch norm against none after training."
        for i in INPUTS
    ]
    return judgement(
        together(answers, when="the inputs are "),
        f"share of positive inputs to ReLU with batch norm against without, {at}",
        found[at],
        *told,
    )


def draw(results: Results, axes: Axes) -> None:
    arms = {
        f"{figures.NAMES[k]}\n{i}, {e} epoch{'s' * (e > 1)}": results.one(
            arm=k, inputs=i, epochs=e
        )["positive"]
        for i in INPUTS
        for e in results.settings("epochs")
        for k in ("batch", "none")
    }
    figures.dots(axes, arms, unit="positive inputs to ReLU, %")


CLAIM = Claim(
    name="positive-share",
    seeds=(EXPLAINED,),
    says="With batch normalization before ReLU a large fraction of its inputs is positive, where the gradient is one.",
    design="Perceptrons with three hidden layers, centred pixels and pixels shifted by four standard deviations, batch 32, 1 and 8 epochs, learning rate tuned. "
    "The share of positive inputs to ReLU on test images, and the units that are positive for none.",
    arms=("batch", "none"),
    rule="For each kind of input, after training: holds when the share is at least 5 points above that without norm, with an interval above 0 (Bonferroni over the two).",
    plot="The share of positive inputs by pixels, norm and epochs.",
    rests="NS503 dead-channels: a warning from 70 % of channels that are never positive, and never the share of positive values as such.",
    literature="No measured number; at initialization both are one half by symmetry.",
    cells=cells,
    measure=measure,
    judge=judge,
    draw=draw,
)
