# pyright: basic
"""Layer norm across batch sizes."""

from __future__ import annotations

from matplotlib.axes import Axes

from normscope.lab import figures
from normscope.lab.claim import DOES_IT, EXPLAINED, FAILING, Claim, Judgement, Results
from normscope.lab.claims import sample_norms, small_batch


def judge(results: Results) -> Judgement:
    return sample_norms.judged(results, "layer")


def draw(results: Results, axes: Axes) -> None:
    sample_norms.drawn(results, axes, "layer")
    figures.beside(
        axes, (2, 4, 8, 16, 32), (1.3, 1.2, 1.2, 1.4, 1.3), "our earlier check, layer norm", like=1
    )
    axes.set_yscale("log")


CLAIM = Claim(
    name="layer-norm-batch",
    seeds=(FAILING, DOES_IT, EXPLAINED),
    says=f"Layer norm {sample_norms.SAYS}",
    design=f"The runs of small-batch. {small_batch.DESIGN}",
    arms=("batch", "layer", "none"),
    rule=sample_norms.rule("layer"),
    plot="Test error by batch size, with the literature's dashed.",
    rests="Layer norm is group norm with one group, which NS301 names where the batch cannot grow; `normscope repair convert-layer`.",
    literature="Digits with JAX, four layers of 128: 98.7, 98.8, 98.8, 98.6 and 98.7 % at batch 2 to 32; ours has three of 64. Wu and He 2018: as norm of a ResNet-50 at batch 32 error 25.3 against 23.6 with batch norm.",
    cells=small_batch.cells,
    measure=small_batch.measure,
    judge=judge,
    draw=draw,
    experiment="small-batch",
)
