# pyright: basic
"""Batch normalization before or after the residual addition, by depth."""

from __future__ import annotations

from matplotlib.axes import Axes

from normscope.lab import figures, networks
from normscope.lab.claim import HINDERING, Cell, Claim, Judgement, Numbers, Results, Scale
from normscope.lab.data import Data
from normscope.lab.training import tuned
from normscope.lab.verdicts import above, difference, judgement, together

BLOCKS = (3, 9, 27, 54)


def cells(scale: Scale) -> list[dict[str, object]]:
    made = {
        "batch": 64,
        "epochs": scale.epochs(6),
        "rates": [0.3, 0.1, 0.03, 0.01],
        "seeds": scale.seed_list(6),
    }
    return [{"arm": a, "blocks": b, **made} for b in BLOCKS for a in ("before", "after")]


def measure(cell: Cell, data: Data) -> Numbers:
    return tuned(
        cell,
        data,
        lambda m: networks.residual_mlp(
            m, data.features, 24, data.classes, cell["blocks"], norm_at=cell["arm"]
        ),
    )


def judge(results: Results) -> Judgement:
    found = {
        b: difference(
            results.one(arm="before", blocks=b)["test"],
            results.one(arm="after", blocks=b)["test"],
            family=len(BLOCKS),
        )
        for b in BLOCKS
    }
    verdict = together(
        {str(b): above(e, 2.0) for b, e in found.items()},
        when="the number of blocks is ",
        ordered=True,
    )
    told = [f"{b} blocks: {e}." for b, e in found.items()]
    return judgement(
        verdict,
        "accuracy with batch norm before the addition against after, 54 blocks",
        found[54],
        *told,
    )


def draw(results: Results, axes: Axes) -> None:
    arms = {
        f"batch norm {a} the addition": [
            [100 - v for v in results.one(arm=a, blocks=b)["test"]] for b in BLOCKS
        ]
        for a in ("before", "after")
    }
    figures.lines(axes, BLOCKS, arms, label="blocks", unit="test error, %")
    figures.beside(axes, (9, 54), (8.29, 6.97), "ResNet-20 and -110 on CIFAR-10, before")
    figures.beside(axes, (9, 54), (8.34, 13.56), "ResNet-20 and -110 on CIFAR-10, after", like=1)


CLAIM = Claim(
    name="addition-order",
    seeds=(HINDERING,),
    says="Batch norm placed wrongly against residual connections shifts distributions and harms.",
    design="Residual perceptrons of width 24 with two layers a block; the second batch norm before the addition, as in ResNet, or after it on the skip path. 3 to 54 blocks, batch 64, "
    "6 epochs, learning rate tuned.",
    arms=("before", "after"),
    rule="At each depth: holds when before is at least 2 points above after, with an interval above 0 (Bonferroni over the depths).",
    plot="Test error by the number of blocks, with the literature's at the same numbers.",
    rests="NS103 batchnorm-on-skip-path: from 32 norms on the skip path on.",
    literature="CIFAR-10, error before and after the addition: ResNet-20 (9 blocks) 8.29 and 8.34 %, ResNet-110 (54 blocks) 6.97 and 13.56 %; ImageNet, 18 to 50 layers: no difference. "
    "Those are convolutions trained to the end, ours perceptrons trained for 6 epochs.",
    note="The direction is the literature's, the size is not: without strided stages, with so narrow blocks and 6 epochs the harm begins at 9 norms on the skip path instead of some 50. "
    "NS103 keeps to the bound that is known from trained image networks.",
    cells=cells,
    measure=measure,
    judge=judge,
    draw=draw,
)
