# pyright: basic
"""Group norm across batch sizes."""

from __future__ import annotations

from matplotlib.axes import Axes

from normscope.lab import figures
from normscope.lab.claim import DOES_IT, EXPLAINED, FAILING, Claim, Judgement, Results
from normscope.lab.claims import small_batch
from normscope.lab.verdicts import above, difference, judgement, within

KEPT = 2.0  # points between the best and the smallest batch that SGD itself may cost


def judge(results: Results) -> Judgement:
    kinds = ("group", "batch", "none")
    lost = {
        k: [
            a - b
            for a, b in zip(
                results.one(arm=k, batch=16)["test"],
                results.one(arm=k, batch=2)["test"],
                strict=True,
            )
        ]
        for k in kinds
    }
    own = difference(lost["group"], [0.0] * len(lost["group"]), family=2)
    more = difference(lost["batch"], lost["group"], family=2)
    answers = within(own, KEPT), above(more, 5.0)
    verdict = (
        "holds"
        if answers == ("holds", "holds")
        else "does not hold"
        if "does not hold" in answers
        else "undecided"
    )
    told = [
        f"From batch 16 to 2 {figures.NAMES[k]} loses {sum(v) / len(v):.2f} points."
        for k, v in lost.items()
    ]
    at_16 = difference(
        results.one(arm="group", batch=16)["test"], results.one(arm="batch", batch=16)["test"]
    )
    told.append(f"Group norm against batch norm at batch 16: {at_16}.")
    return judgement(
        verdict,
        "accuracy that batch norm loses from batch 16 to 2 beyond what group norm loses",
        more,
        *told,
    )


def draw(results: Results, axes: Axes) -> None:
    arms = {
        a: [[100 - v for v in results.one(arm=a, batch=b)["test"]] for b in small_batch.BATCHES]
        for a in ("batch", "group", "none")
    }
    figures.lines(axes, small_batch.BATCHES, arms, label="batch size", unit="test error, %")
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
    says="Group norm takes its statistics within a sample: it does not mind small batches and serves where batch norm fails.",
    design=f"The runs of small-batch. {small_batch.DESIGN}",
    arms=("batch", "group", "none"),
    rule=f"Holds when from batch 16 to 2 group norm loses less than {KEPT:g} points, interval included, and batch norm at least 5 points more than that with an interval above 0.",
    plot="Test error by batch size, with the literature's dashed.",
    rests="The remedy that NS301 names first where the batch cannot grow; `normscope repair convert-group`.",
    literature="Wu and He 2018, ResNet-50 on ImageNet, error with 32 groups at 2, 4, 8, 16 and 32 images per GPU: 24.1, 24.2, 24.0, 24.2, 24.1, against 34.7, 27.3, 24.8, 23.7, 23.6 with batch norm. Ours are perceptrons with 4 groups of 16 units, on digits: levels differ, the shape is compared.",
    cells=small_batch.cells,
    measure=small_batch.measure,
    judge=judge,
    draw=draw,
    experiment="small-batch",
)
