# pyright: basic
"""What the claims on group norm and on layer norm share: both take their statistics within a sample, and are asked the same."""

from __future__ import annotations

from matplotlib.axes import Axes

from normscope.lab import figures
from normscope.lab.claim import Judgement, Results
from normscope.lab.claims import small_batch
from normscope.lab.verdicts import above, difference, judgement, within

KEPT = 2.0  # points between the best and the smallest batch that SGD itself may cost
SAYS = "takes its statistics within a sample: it does not mind small batches and serves where batch norm fails."


def rule(kind: str) -> str:
    return (
        f"Holds when from batch 16 to 2 {figures.NAMES[kind]} loses less than {KEPT:g} points, interval included, and batch norm "
        "at least 5 points more than that with an interval above 0."
    )


def judged(results: Results, kind: str) -> Judgement:
    """What the norm of that kind loses from batch 16 to 2, and what batch norm loses beyond it."""
    lost = {
        k: [
            a - b
            for a, b in zip(
                results.one(arm=k, batch=16)["test"],
                results.one(arm=k, batch=2)["test"],
                strict=True,
            )
        ]
        for k in (kind, "batch", "none")
    }
    own = difference(lost[kind], [0.0] * len(lost[kind]), family=2)
    more = difference(lost["batch"], lost[kind], family=2)
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
        results.one(arm=kind, batch=16)["test"], results.one(arm="batch", batch=16)["test"]
    )
    name = figures.NAMES[kind]
    told.append(f"{name.capitalize()} against batch norm at batch 16: {at_16}.")
    return judgement(
        verdict,
        f"accuracy that batch norm loses from batch 16 to 2 beyond what {name} loses",
        more,
        *told,
    )


def drawn(results: Results, axes: Axes, kind: str) -> None:
    """Test error by batch size: batch norm, the norm of that kind, and none."""
    arms = {
        a: [[100 - v for v in results.one(arm=a, batch=b)["test"]] for b in small_batch.BATCHES]
        for a in ("batch", kind, "none")
    }
    figures.lines(axes, small_batch.BATCHES, arms, label="batch size", unit="test error, %")
