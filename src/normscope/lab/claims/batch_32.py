# pyright: basic
"""Is a batch of 32 too small?"""

from __future__ import annotations

from matplotlib.axes import Axes

from normscope.lab import figures
from normscope.lab.claim import DOES_IT, HINDERING, Claim, Judgement, Results
from normscope.lab.claims import small_batch
from normscope.lab.verdicts import above, difference, judgement

LARGER = (64, 128, 256)
MATTERS = 0.5


def judge(results: Results) -> Judgement:
    at_32 = results.one(arm="batch", batch=32)["test"]
    found = {
        b: difference(results.one(arm="batch", batch=b)["test"], at_32, family=len(LARGER))
        for b in LARGER
    }
    answers = [above(e, MATTERS) for e in found.values()]
    verdict = (
        "holds"
        if "holds" in answers
        else "does not hold"
        if set(answers) == {"does not hold"}
        else "undecided"
    )
    told = [f"Batch {b} against 32, batch norm in both: {e}." for b, e in found.items()]
    layer = difference(at_32, results.one(arm="layer", batch=32)["test"])
    told.append(f"At 32 batch norm against layer norm: {layer}.")
    return judgement(verdict, "accuracy of batch norm at batch 128 against 32", found[128], *told)


def draw(results: Results, axes: Axes) -> None:
    sizes = [b for b in small_batch.BATCHES if b >= 8]
    arms = {
        a: [results.one(arm=a, batch=b)["test"] for b in sizes] for a in ("batch", "layer", "none")
    }
    figures.lines(axes, sizes, arms, label="batch size", unit="test accuracy, %")


CLAIM = Claim(
    name="batch-32",
    seeds=(HINDERING, DOES_IT),
    says="A batch of 32 is small: it makes training erratic, and 128 or 256 mitigate that significantly.",
    design=f"The runs of small-batch. {small_batch.DESIGN}",
    arms=("batch 32", "batch 64", "batch 128", "batch 256"),
    rule=f"Holds when batch norm at 64, 128 or 256 is at least {MATTERS:g} points above batch norm at 32 with an interval above 0 (Bonferroni over the three); does not hold when "
    f"all three intervals lie below {MATTERS:g}.",
    plot="Test accuracy by batch size from 8 on.",
    rests="NS301 small-batch is silent from 16 images on, and never speaks of 32 for its count alone.",
    literature="Goyal et al. 2017 take 32 a worker as their standard: 23.5 to 23.7 % error for totals of 128 to 8k. Wu and Johnson 2021: best validation error at 32 to 128. "
    "Here all sizes have the same epochs, so that a large batch has fewer updates, as in most users' scripts.",
    mended="From batch 32 on there are 12 seeds instead of 6, for 6 left it undecided.",
    cells=small_batch.cells,
    measure=small_batch.measure,
    judge=judge,
    draw=draw,
    experiment="small-batch",
)
