# pyright: basic
"""Layer norm across batch sizes."""

from __future__ import annotations

from matplotlib.axes import Axes

from normscope.lab import figures
from normscope.lab.claim import DOES_IT, EXPLAINED, FAILING, Claim, Judgement, Results
from normscope.lab.claims import small_batch
from normscope.lab.verdicts import above, difference, judgement, within

KEPT = 2.0  # points between the best and the smallest batch that SGD itself may cost


def judge(results: Results) -> Judgement:
    kinds = ("layer", "batch", "none")
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
    own = difference(lost["layer"], [0.0] * len(lost["layer"]), family=2)
    more = difference(lost["batch"], lost["layer"], family=2)
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
        results.one(arm="layer", batch=16)["test"], results.one(arm="batch", batch=16)["test"]
    )
    told.append(f"Layer norm against batch norm at batch 16: {at_16}.")
    return judgement(
        verdict,
        "accuracy that batch norm loses from batch 16 to 2 beyond what layer norm loses",
        more,
        *told,
    )


def draw(results: Results, axes: Axes) -> None:
    arms = {
        a: [[100 - v for v in results.one(arm=a, batch=b)["test"]] for b in small_batch.BATCHES]
        for a in ("batch", "layer", "none")
    }
    figures.lines(axes, small_batch.BATCHES, arms, label="batch size", unit="test error, %")
    figures.beside(
        axes, (2, 4, 8, 16, 32), (1.3, 1.2, 1.2, 1.4, 1.3), "our earlier check, layer norm", like=1
    )
    axes.set_yscale("log")


CLAIM = Claim(
    name="layer-norm-batch",
    seeds=(FAILING, DOES_IT, EXPLAINED),
    says="Layer norm takes its statistics within a sample: it does not mind small batches and serves where batch norm fails.",
    design=f"The runs of small-batch. {small_batch.DESIGN}",
    arms=("batch", "layer", "none"),
    rule=f"Holds when from batch 16 to 2 layer norm loses less than {KEPT:g} points, interval included, and batch norm at least 5 points more than that with an interval above 0.",
    plot="Test error by batch size, with the literature's dashed.",
    rests="The remedy that NS301 names first where the batch cannot grow; `normscope repair convert-layer`.",
    literature="Digits with JAX, four layers of 128: 98.7, 98.8, 98.8, 98.6 and 98.7 % at batch 2 to 32. Wu and He 2018: as norm of a ResNet-50 at batch 32 error 25.3 against 23.6 with batch norm.",
    cells=small_batch.cells,
    measure=small_batch.measure,
    judge=judge,
    draw=draw,
    experiment="small-batch",
)
