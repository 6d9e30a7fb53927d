# pyright: basic
"""A bias before batch normalization does nothing."""

from __future__ import annotations

import torch
from matplotlib.axes import Axes
from torch import nn

from normscope.lab import figures
from normscope.lab.claim import EXPLAINED, Cell, Claim, Judgement, Numbers, Results, Scale
from normscope.lab.data import Data
from normscope.lab.verdicts import judgement, mean, within

ARMS = ("directly before", "ReLU between", "before layer norm", "batch norm in eval mode")
BOUND = 1e-5  # of the output's standard deviation: some twenty times single precision's rounding


def cells(scale: Scale) -> list[dict[str, object]]:
    return [{"arm": arm, "seeds": scale.seed_list()} for arm in ARMS]


def measure(cell: Cell, data: Data) -> Numbers:
    return {"change": [_change(cell["arm"], seed, data) for seed in cell["seeds"]]}


def _change(arm: str, seed: int, data: Data) -> float:
    """The largest change of the output when a bias of N(0, 1) is added, in standard deviations of the output."""
    generator = torch.Generator().manual_seed(seed)
    x = data.flat[torch.randperm(len(data.flat), generator=generator)[:64]].double().float()
    z = x @ torch.randn(x.shape[1], 32, generator=generator) / x.shape[1] ** 0.5
    b = torch.randn(32, generator=generator)
    norm = nn.LayerNorm(32) if arm == "before layer norm" else nn.BatchNorm1d(32)
    norm.train(arm != "batch norm in eval mode")
    act = torch.relu if arm == "ReLU between" else (lambda v: v)
    with torch.no_grad():
        without, with_bias = norm(act(z)), norm(act(z + b))
    return float((with_bias - without).abs().max() / without.std())


def judge(results: Results) -> Judgement:
    direct = mean(results.one(arm=ARMS[0])["change"], unit="standard deviations")
    others = {a: results.one(arm=a)["change"] for a in ARMS[1:]}
    exact = max(results.one(arm=ARMS[0])["change"]) < BOUND
    verdict = within(direct, BOUND) if exact else "does not hold"
    if verdict == "holds" and any(min(v) > 1000 * BOUND for v in others.values()):
        verdict = "holds when batch normalization follows directly and uses batch statistics"
    told = [
        f"{a}: the output moves by {min(v):.2f} to {max(v):.2f} standard deviations."
        for a, v in others.items()
    ]
    return judgement(
        verdict, "largest change of the output by a bias directly before", direct, *told
    )


def draw(results: Results, axes: Axes) -> None:
    figures.dots(
        axes,
        {a: results.one(arm=a)["change"] for a in ARMS},
        unit="change of the output / its sd",
        log=True,
    )
    axes.axvline(BOUND, color=figures.INK, ls=":", label="the rule's bound")


CLAIM = Claim(
    name="redundant-bias",
    seeds=(EXPLAINED,),
    says="A linear or convolutional layer directly before batch normalization needs no bias: subtracting the mean of the batch cancels it.",
    design="64 images through a random linear map of 32 outputs, with and without a bias drawn from N(0, 1), then a norm. No training.",
    arms=ARMS,
    rule=f"Holds when with batch norm directly behind, in training, the output of every seed changes by less than {BOUND:g} of its standard "
    f"deviation; the condition is named when some other arm changes by more than a thousand times that.",
    plot="The largest change of the output that the bias makes, by what stands between bias and statistics.",
    rests="NS101 redundant-bias fires only where nothing stands between, and its repair `fold-redundant-bias` is exact.",
    literature="Exact by algebra. Gradient of such a bias, measured in a ReLU network: 4e-9, with a ReLU between 2.3e-2 (our own earlier check).",
    cells=cells,
    measure=measure,
    judge=judge,
    draw=draw,
)
