# pyright: basic
"""With γ = σ and β = μ batch normalization gives back what it was given."""

from __future__ import annotations

import torch
from matplotlib.axes import Axes
from torch import nn

from normscope.lab import figures
from normscope.lab.claim import EXPLAINED, Cell, Claim, Judgement, Numbers, Results, Scale
from normscope.lab.data import Data
from normscope.lab.verdicts import judgement, mean, within

ARMS = ("γ = √(σ² + ε)", "γ = σ", "γ = σ, σ = √ε", "γ = √(σ² + ε), another batch")
BOUND = 1e-5  # of the input's standard deviation


def cells(scale: Scale) -> list[dict[str, object]]:
    return [{"arm": arm, "seeds": scale.seed_list()} for arm in ARMS]


def measure(cell: Cell, data: Data) -> Numbers:
    return {"distance": [_distance(cell["arm"], s, data) for s in cell["seeds"]]}


def _distance(arm: str, seed: int, data: Data) -> float:
    """The largest |output − input| in standard deviations of the input."""
    generator = torch.Generator().manual_seed(seed)
    chosen = data.flat[torch.randperm(len(data.flat), generator=generator)[:128]]
    x, other = (chosen @ torch.randn(chosen.shape[1], 32, generator=generator)).split(64)
    norm = nn.BatchNorm1d(32)
    if arm.endswith("σ = √ε"):
        x = (x - x.mean(0)) / x.std(0, correction=0) * norm.eps**0.5
    variance = x.var(0, correction=0)
    with torch.no_grad():
        norm.weight.copy_((variance + norm.eps * ("+ ε" in arm)).sqrt())
        norm.bias.copy_(x.mean(0))
        given = other if "another" in arm else x
        return float((norm(given) - given).abs().max() / given.std())


def judge(results: Results) -> Judgement:
    found = {a: mean(results.one(arm=a)["distance"], unit="standard deviations") for a in ARMS}
    verdict = within(found[ARMS[0]], BOUND)
    if verdict == "holds" and min(results.one(arm=ARMS[3])["distance"]) > 1000 * BOUND:
        verdict = "holds when the batch is the one whose σ and μ they are, or in eval mode with such running statistics"
    told = [f"{a}: {found[a]}." for a in ARMS[1:]]
    return judgement(verdict, "largest distance between output and input", found[ARMS[0]], *told)


def draw(results: Results, axes: Axes) -> None:
    arms = {a: results.one(arm=a)["distance"] for a in ARMS}
    figures.dots(axes, arms, unit="|output − input| / sd", log=True)


CLAIM = Claim(
    name="identity",
    seeds=(EXPLAINED,),
    says="Batch normalization takes no expressive power away: with γ = σ and β = μ of the batch it is the identity.",
    design="64 images through a random linear map; γ and β are set from that batch's own statistics, with and without ε, and used on another batch. No training.",
    arms=ARMS,
    rule=f"Holds when with γ = √(σ² + ε) the outputs of every seed are the inputs to within {BOUND:g} standard deviations; the condition is "
    "named when on another batch the distance is more than a thousand times that.",
    plot="The largest distance between output and input, by how γ was set.",
    rests="The repair `fold-batchnorm` and the certificate's bounds rest on the same algebra, with ε in it; NS205 epsilon-out-of-range: a warning where ε ≥ 0.05 is at least half of σ² + ε.",
    literature="Exact by algebra once ε is counted; with γ = σ the relative error is ε/(2σ²), and 29 % where σ² = ε.",
    cells=cells,
    measure=measure,
    judge=judge,
    draw=draw,
)
