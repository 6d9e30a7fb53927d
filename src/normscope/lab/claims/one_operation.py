# pyright: basic
"""BatchNorm1d and BatchNorm2d are one operation."""

from __future__ import annotations

from typing import Any

import torch
from matplotlib.axes import Axes
from torch import nn

from normscope.lab import figures
from normscope.lab.claim import EXPLAINED, Cell, Claim, Judgement, Numbers, Results, Scale
from normscope.lab.data import Data
from normscope.lab.verdicts import judgement, mean, within

ARMS = ("output", "gradient", "running statistics", "output, channels last as channels")
BOUND = 1e-9  # relative; sums in another order, in double precision


def cells(scale: Scale) -> list[dict[str, object]]:
    return [{"arm": arm, "precision": "double", "seeds": scale.seed_list()} for arm in ARMS]


def measure(cell: Cell, data: Data) -> Numbers:
    return {"difference": [_difference(cell["arm"], s, data) for s in cell["seeds"]]}


def _difference(arm: str, seed: int, data: Data) -> float:
    """The largest difference between the two layers on the same values, relative to the largest value."""
    generator = torch.Generator().manual_seed(seed)
    images = data.images[torch.randperm(len(data.images), generator=generator)[:64]].double()
    kernel = torch.randn(8, images.shape[1], 3, 3, generator=generator).double()
    maps = nn.functional.conv2d(images, kernel, padding=1)
    rows = maps.permute(0, 2, 3, 1).reshape(-1, 8)
    two: Any = nn.BatchNorm2d(8).double()
    one: Any = nn.BatchNorm1d(8).double()
    if arm.endswith("as channels"):
        # What a user gets who hands (N, C, positions) over as (N, positions, C).
        wrong = nn.BatchNorm1d(maps[0, 0].numel()).double()(maps.flatten(2).transpose(1, 2))
        return _relative(
            two(maps).permute(0, 2, 3, 1), wrong.reshape(maps.permute(0, 2, 3, 1).shape)
        )
    maps.requires_grad_()
    rows = rows.detach().requires_grad_()
    weights = torch.randn(rows.shape, generator=generator).double()
    outputs = two(maps).permute(0, 2, 3, 1).reshape(-1, 8), one(rows)
    if arm == "output":
        return _relative(*outputs)
    if arm == "running statistics":
        return max(
            _relative(two.running_mean, one.running_mean),
            _relative(two.running_var, one.running_var),
        )
    for y in outputs:
        (y * weights).sum().backward()
    return _relative(_gradient(maps).permute(0, 2, 3, 1).reshape(-1, 8), _gradient(rows))


def _gradient(x: torch.Tensor) -> torch.Tensor:
    assert x.grad is not None
    return x.grad


def _relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(((a - b).abs().max() / a.abs().max()).detach())


def judge(results: Results) -> Judgement:
    found = {a: mean(results.one(arm=a)["difference"], unit="of the largest value") for a in ARMS}
    answers = [within(found[a], BOUND) for a in ARMS[:3]]
    verdict = "holds" if all(a == "holds" for a in answers) else "does not hold"
    worst = max((found[a] for a in ARMS[:3]), key=lambda e: e.value)
    told = [f"{a}: {found[a]}." for a in ARMS]
    return judgement(verdict, "largest difference between the two", worst, *told)


def draw(results: Results, axes: Axes) -> None:
    arms = {a: [max(v, 1e-18) for v in results.one(arm=a)["difference"]] for a in ARMS}
    figures.dots(axes, arms, unit="difference / largest value", log=True)


CLAIM = Claim(
    name="one-operation",
    seeds=(EXPLAINED,),
    says="BatchNorm1d and BatchNorm2d are the same operation in two layouts: per channel, over everything else.",
    design="Maps of 64 images with 8 channels: BatchNorm2d on (N, C, H, W) against BatchNorm1d on (N·H·W, C), in outputs, gradients and running statistics, in double precision. No training.",
    arms=ARMS,
    rule=f"Holds when outputs, gradients and running statistics of all seeds agree to within {BOUND:g} of the largest value.",
    plot="The largest relative difference; at the right what happens when the channels stand on the wrong axis.",
    rests="NS105 wrong-axis: the layers agree only while the channels stand on axis 1. All rules read 1d, 2d and 3d layers as one kind.",
    literature="Exact by definition.",
    mended="The rule asked for 1e-4 in single precision, which rounding exceeds on maps of 28 × 28; now both layers compute in double precision, and the bound is a hundred thousand times as strict.",
    cells=cells,
    measure=measure,
    judge=judge,
    draw=draw,
)
