# pyright: basic
"""What an update at layer 2 does to the inputs of layer 20."""

from __future__ import annotations

from typing import Any

import torch
from matplotlib.axes import Axes

from normscope.lab import figures, networks
from normscope.lab.claim import EXPLAINED, Cell, Claim, Judgement, Numbers, Results, Scale
from normscope.lab.data import Data
from normscope.lab.training import Run
from normscope.lab.verdicts import above, difference, judgement, ratio

DEPTH = 22
UPDATE = 0.05  # the update's norm relative to the weights'
ARMS = ("batch", "layer", "none")


def cells(scale: Scale) -> list[dict[str, object]]:
    return [
        {
            "arm": a,
            "depth": DEPTH,
            "update": UPDATE,
            "batch": 256,
            "rates": [0.01],
            "seeds": scale.seed_list(),
        }
        for a in ARMS
    ]


def measure(cell: Cell, data: Data) -> Numbers:
    """By layer from the third on and by seed: `moments`, how far the channels' means before the norm move in standard deviations; `samples`, how far
    what ReLU receives moves sample by sample, in standard deviations, both as root mean squares over channels."""
    sizes = (data.features, *[64] * cell["depth"], data.classes)
    run = Run(cell, data, lambda m: networks.mlp(m, sizes, kind=cell["arm"]))
    [indices, *_] = run.batches()
    inputs, labels = run.batch(indices)
    run.losses(run.network(inputs), labels).sum().backward()
    weight: Any = [m.weight for m in run.network if isinstance(m, networks.Linear)][1]
    before = _layers(run, inputs)
    with torch.no_grad():
        step = weight.grad / weight.grad.flatten(1).norm(dim=1)[:, None, None]
        weight -= cell["update"] * weight.flatten(1).norm(dim=1)[:, None, None] * step
    after = _layers(run, inputs)
    moments, samples = [], []
    for (raw, handed), (new_raw, new_handed) in zip(before[2:], after[2:], strict=True):
        width = raw.std(0).clamp(min=1e-9)
        moments.append(((new_raw.mean(0) - raw.mean(0)) / width).square().mean(1).sqrt().tolist())
        spread = handed.std(0).square().mean(1).sqrt().clamp(min=1e-9)
        samples.append(((new_handed - handed).square().mean((0, 2)).sqrt() / spread).tolist())
    return {"moments": moments, "samples": samples}


@torch.no_grad()
def _layers(run: Run, x: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Of each hidden layer: what the linear map gives, and what ReLU receives; (batch, members, channels)."""
    found, raw = [], x
    for module in run.network:
        if isinstance(module, torch.nn.ReLU):
            found.append((run.members.apart(raw), run.members.apart(x)))
        x = module(x)
        if isinstance(module, networks.Linear):
            raw = x
    return found


def judge(results: Results) -> Judgement:
    at_20 = 20 - 3
    grown = {
        a: ratio(results.one(arm=a)["samples"][at_20], results.one(arm=a)["samples"][0], family=2)
        for a in ARMS
    }
    mended = difference(
        results.one(arm="batch")["samples"][at_20],
        results.one(arm="none")["samples"][at_20],
        family=2,
        unit="standard deviations",
    )
    compounds, lessens = (
        above(grown["none"], 2.0),
        above(
            difference(
                results.one(arm="none")["samples"][at_20],
                results.one(arm="batch")["samples"][at_20],
                family=2,
            ),
            0.05,
        ),
    )
    if compounds == "holds":
        verdict = (
            "holds"
            if lessens == "holds"
            else "holds when it is about the shift, which batch norm does not lessen"
        )
    else:
        verdict = compounds
    told = [
        f"{figures.NAMES[a]}: the change of what ReLU receives grows from layer 3 to 20 by {grown[a]}."
        for a in ARMS
    ]
    told += [
        f"{figures.NAMES[a]}: at layer 20 means before the norm move by {_mean(results.one(arm=a)['moments'][at_20]):.2f}, values sample by sample by {_mean(results.one(arm=a)['samples'][at_20]):.2f} standard deviations."
        for a in ARMS
    ]
    told.append(f"Batch norm against none, sample by sample at layer 20: {mended}.")
    return judgement(
        verdict,
        "change of what ReLU receives at layer 20 against layer 3, without norm",
        grown["none"],
        *told,
    )


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def draw(results: Results, axes: Axes) -> None:
    x = list(range(3, DEPTH + 1))
    arms = {a: results.one(arm=a)["samples"] for a in ARMS}
    figures.lines(axes, x, arms, base=None, label="layer", unit="change of ReLU's input / sd")
    axes.set_yscale("log")


CLAIM = Claim(
    name="downstream-shift",
    seeds=(EXPLAINED,),
    says="A small update at layer 2 can shift the inputs of layer 20 considerably, the more the deeper; batch normalization stops that.",
    design=f"Chains of {DEPTH} ReLU layers of 64 at He's initialization; the weights of layer 2 alone take a step along the gradient of {UPDATE:.0%} of their norm. On the same 256 images the change of what "
    "ReLU receives in each later layer, in its standard deviations.",
    arms=ARMS,
    rule="Compounding holds when without norm the change at layer 20 is at least twice that at layer 3, with an interval above 1; the claim holds without a condition when batch norm also lessens the change at layer 20 by "
    "0.05 standard deviations or more, with an interval above 0.",
    plot="The change by layer, after the same relative update at layer 2.",
    rests="No rule: a moment that moves is no fault. NS104 looks at gradients instead.",
    literature="Daneshmand et al. 2021: without norm deep chains collapse to one direction, with batch norm samples are driven apart, so that a change grows sample by sample while means and variances stay put by construction. No table of this.",
    cells=cells,
    measure=measure,
    judge=judge,
    draw=draw,
)
