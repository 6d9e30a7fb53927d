# pyright: basic
"""Batch normalization in a recurrent network: shared over time steps, one a step, and layer norm instead."""

from __future__ import annotations

from matplotlib.axes import Axes

from normscope.lab import figures, networks
from normscope.lab.claim import FAILING, Cell, Claim, Judgement, Numbers, Results, Scale
from normscope.lab.data import Data
from normscope.lab.training import tuned
from normscope.lab.verdicts import Answer, below, difference, judgement, shown, together

ARMS = {
    "batch norm, shared": ("batch", 1.0),
    "batch norm a step": ("batch-per-step", 1.0),
    "batch norm a step, γ = 0.1": ("batch-per-step", 0.1),
    "layer norm": ("layer", 1.0),
    "no norm": ("none", 1.0),
}
BATCHES = (4, 32)


def cells(scale: Scale) -> list[dict[str, object]]:
    made = {"epochs": scale.epochs(4), "rates": [0.3, 0.1, 0.03], "seeds": scale.seed_list(5)}
    return [{"arm": a, "batch": b, **made} for b in BATCHES for a in ARMS]


def measure(cell: Cell, data: Data) -> Numbers:
    kind, gamma = ARMS[cell["arm"]]
    _, channels, rows, columns = data.images.shape
    # Rows come one after the other; of colour images the channels of a row together.
    ordered = Data(data.name, data.images.transpose(1, 2).contiguous(), data.labels)
    return tuned(
        cell,
        ordered,
        lambda m: networks.Recurrent(
            m, rows, channels * columns, 48, data.classes, kind=kind, gamma=gamma
        ),
    )


def judge(results: Results) -> Judgement:
    found = {
        (a, b): difference(
            results.one(arm=a, batch=b)["test"],
            results.one(arm="layer norm", batch=b)["test"],
            family=6,
        )
        for a in list(ARMS)[:3]
        for b in BATCHES
    }
    answers: dict[tuple[str, int], Answer] = {k: below(e, -1.0) for k, e in found.items()}
    verdict = _verdict(answers)
    arm, batch = shown(answers, ("batch norm, shared", 32))
    told = [f"{a}, batch {b}, against layer norm: {e}." for (a, b), e in found.items()]
    return judgement(
        verdict,
        f"accuracy of {arm} against layer norm, batch {batch}",
        found[arm, batch],
        *told,
    )


def _verdict(answers: dict[tuple[str, int], Answer]) -> str:
    """By batch size: every form of batch norm, or those that are named."""
    short = {
        "batch norm, shared": "shared statistics",
        "batch norm a step": "a norm for each step",
        "batch norm a step, γ = 0.1": "a norm for each step that starts at γ = 0.1",
    }
    parts: list[str] = []
    for b in BATCHES:
        told = together({name: answers[a, b] for a, name in short.items()})
        if told == "holds":
            parts.append(f"the batch is {b}")
        elif told.startswith("holds when "):
            parts.append(f"the batch is {b} with {told.removeprefix('holds when ')}")
    if len(parts) == len(BATCHES) and not any(" with " in p for p in parts):
        return "holds"
    return (
        f"holds when {', or '.join(parts)}"
        if parts
        else together({str(k): a for k, a in answers.items()})
    )


def draw(results: Results, axes: Axes) -> None:
    arms = {f"{a}\nbatch {b}": results.one(arm=a, batch=b)["test"] for b in BATCHES for a in ARMS}
    figures.dots(axes, arms, unit="test accuracy, %")


CLAIM = Claim(
    name="recurrent",
    seeds=(FAILING,),
    says="In recurrent networks batch normalization performs worse; layer norm is often preferable.",
    design="An Elman network with 48 units over the rows of an image, 8 of the digits, norm before tanh: batch norm with one set of statistics for all steps, one for each step, the latter with γ = 0.1, layer norm, none. "
    "Batches of 4 and 32, 4 epochs, learning rate tuned.",
    arms=tuple(ARMS),
    rule="For each form of batch norm and batch size: holds when it is at least 1 point below layer norm, with an interval below 0 (Bonferroni over the six).",
    plot="Test accuracy by norm, at both batch sizes.",
    rests="NS106 batchnorm-in-recurrence, for shared statistics alone: an info where the gap probe finds that all statistics agree, or where the steps' means differ by less than 0.5 standard deviations and their variances by less than a factor of 2.",
    literature="Cooijmans et al. 2016 make it work with statistics for each step and γ = 0.1, on cells with gates; no number of theirs is established here.",
    note="At batch 32 shared statistics are not significantly worse than layer norm over eight time steps, and statistics for each step are as good; γ = 0.1 helps cells with gates and long sequences, which these are not.",
    mended="The verdict is told by batch size, where it had listed all six answers; each answer is as the rule has it. 4 epochs, 5 seeds and 3 learning rates instead of 6, 6 and 4, for the time it took.",
    cells=cells,
    measure=measure,
    judge=judge,
    draw=draw,
)
