# pyright: basic
"""Group norm across batch sizes."""

from __future__ import annotations

from matplotlib.axes import Axes

from normscope.lab import figures
from normscope.lab.claim import DOES_IT, EXPLAINED, FAILING, Claim, Judgement, Results
from normscope.lab.claims import sample_norms, small_batch


def judge(results: Results) -> Judgement:
    return sample_norms.judged(results, "group")


def draw(results: Results, axes: Axes) -> None:
    sample_norms.drawn(results, axes, "group")
    figures.beside(
        axes,
        (2, 4, 8, 16, 32),
        (24.1, 24.2, 24.0, 24.2, 24.1),
        "ResNet-50 on ImageNet, group norm",
        like=1,
    )
    figures.beside(
        axes,
        (2, 4, 8, 16, 32),
        (34.7, 27.3, 24.8, 23.7, 23.6),
        "ResNet-50 on ImageNet, batch norm",
        like=0,
    )
    axes.set_yscale("log")


CLAIM = Claim(
    name="group-norm-batch",
    seeds=(FAILING, DOES_IT, EXPLAINED),
    says=f"Group norm {sample_norms.SAYS}",
    design=f"The runs of small-batch. {small_batch.DESIGN}",
    arms=("batch", "group", "none"),
    rule=sample_norms.rule("group"),
    plot="Test error by batch size, with the literature's dashed.",
    rests="The remedy that NS301 names beside a larger batch, with up to 32 groups; `normscope repair convert-group`.",
    literature="Wu and He 2018, ResNet-50 on ImageNet, error with 32 groups at 2, 4, 8, 16 and 32 images per GPU: 24.1, 24.2, 24.0, 24.2, 24.1, against 34.7, 27.3, 24.8, 23.7, 23.6 with batch norm. Ours are perceptrons with 4 groups of 16 units, on digits: levels differ, the shape is compared.",
    cells=small_batch.cells,
    measure=small_batch.measure,
    judge=judge,
    draw=draw,
    experiment="small-batch",
)
