# pyright: basic
"""Does batch normalization smooth the landscape? Lipschitzness and predictiveness along the gradient."""

from __future__ import annotations

import torch
from matplotlib.axes import Axes
from torch import Tensor

from normscope.lab import figures, networks
from normscope.lab.claim import EXPLAINED, Cell, Claim, Judgement, Numbers, Results, Scale
from normscope.lab.data import Data
from normscope.lab.training import Run
from normscope.lab.verdicts import Answer, above, judgement, ratio, together

DEPTHS = (4, 10)
LENGTHS = (0.5, 1.0, 2.0, 4.0)  # times the learning rate
RATE = 0.1
LARGEST = 1e6  # what grows beyond it is put there: the ratio is then a lower bound


def cells(scale: Scale) -> list[dict[str, object]]:
    return [
        {
            "arm": a,
            "depth": d,
            "rates": [RATE],
            "batch": 128,
            "epochs": 6,
            "every": 6,
            "momentum": 0.0,
            "constant": True,
            "seeds": scale.seed_list(),
        }
        for d in DEPTHS
        for a in ("batch", "none")
    ]


def measure(cell: Cell, data: Data) -> Numbers:
    """By seed, the mean over steps: the range of the loss along the gradient, the largest change of the gradient, and that a unit of distance (β)."""
    sizes = (data.features, *[64] * cell["depth"], data.classes)
    run = Run(cell, data, lambda m: networks.mlp(m, sizes, kind=cell["arm"]))
    found, done = [], 0
    for _ in range(cell["epochs"]):
        for indices in run.batches():
            if done % cell["every"] == 0:
                found.append(_along(run, indices))
            run.step(indices)
            done += 1
    middle = torch.stack(found).clamp(1e-9, LARGEST).mean(0)
    return dict(zip(("range", "change", "beta"), middle.tolist(), strict=True)) | {
        "curve": torch.stack(found)[:, 0].clamp(1e-9, LARGEST).median(1).values.tolist()
    }


def _along(run: Run, indices: Tensor) -> Tensor:
    """(3, members) at the present weights, which are left as they were."""
    parameters = list(run.network.parameters())
    kept = [p.detach().clone() for p in parameters]
    loss, gradients = _at(run, indices, parameters)
    losses, changes, betas = [loss], [], []
    for length in LENGTHS:
        with torch.no_grad():
            for p, k, g in zip(parameters, kept, gradients, strict=True):
                p.copy_(k - length * RATE * g)
        there, new = _at(run, indices, parameters)
        losses.append(there)
        change = _norm(run, [a - b for a, b in zip(new, gradients, strict=True)])
        changes.append(change)
        betas.append(change / (length * RATE * _norm(run, gradients)))
    with torch.no_grad():
        for p, k in zip(parameters, kept, strict=True):
            p.copy_(k)
    line = torch.stack(losses)
    parts = line.amax(0) - line.amin(0), torch.stack(changes).amax(0), torch.stack(betas).amax(0)
    return torch.stack(parts).nan_to_num(LARGEST, LARGEST)


def _at(
    run: Run, indices: Tensor, parameters: list[torch.nn.Parameter]
) -> tuple[Tensor, list[Tensor]]:
    inputs, labels = run.batch(indices)
    losses = run.losses(run.network(inputs), labels)
    return losses.detach(), list(torch.autograd.grad(losses.sum(), parameters))


def _norm(run: Run, values: list[Tensor]) -> Tensor:
    """Of each member over all its parameters."""
    return sum(v.reshape(len(run.members), -1).square().sum(1) for v in values).sqrt()  # pyright: ignore[reportAttributeAccessIssue]


def judge(results: Results) -> Judgement:
    found = {}
    for d in DEPTHS:
        ours, others = (results.one(arm=a, depth=d) for a in ("batch", "none"))
        for what in ("range", "change", "beta"):
            found[what, d] = ratio(others[what], ours[what], family=2 * len(DEPTHS))
    answers: dict[str, Answer] = {
        f"the network has {d} layers": _worse(
            above(found["range", d], 2.0), above(found["change", d], 2.0)
        )
        for d in DEPTHS
    }
    told = [
        f"{d} layers, without norm against with: range of the loss {found['range', d]}, change of the gradient {found['change', d]}, β {found['beta', d]}."
        for d in DEPTHS
    ]
    return judgement(
        together(answers),
        "range of the loss along the gradient without norm against with batch norm, 4 layers",
        found["range", 4],
        *told,
    )


def _worse(one: Answer, other: Answer) -> Answer:
    if "does not hold" in (one, other):
        return "does not hold"
    return "undecided" if "undecided" in (one, other) else "holds"


def draw(results: Results, axes: Axes) -> None:
    for i, (d, a) in enumerate((d, a) for d in DEPTHS for a in ("batch", "none")):
        y = results.one(arm=a, depth=d)["curve"]
        axes.plot(
            [6 * k for k in range(len(y))],
            y,
            color=figures.COLOURS[i],
            marker=figures.MARKERS[i],
            label=f"{d} layers, {figures.NAMES[a]}",
        )
    axes.set_yscale("log")
    axes.set(xlabel="training step", ylabel="range of the loss along the gradient")


CLAIM = Claim(
    name="smoothness",
    seeds=(EXPLAINED,),
    says="Batch normalization smooths the loss landscape: loss and gradient change less along a step.",
    design="ReLU perceptrons of 4 and 10 layers of 64 trained at learning rate 0.1, plain SGD, batch 128. At every sixth step along the gradient, at half to four times the learning rate: the range of the loss, "
    "the largest change of the gradient, and that per unit of distance.",
    arms=("batch", "none"),
    rule="For each depth: holds when range and change without norm are at least twice those with batch norm, geometric mean over seeds, with intervals above 1 (Bonferroni over the four).",
    plot="The range of the loss along the gradient during training, median over seeds.",
    rests="Reported by no rule; it is why learning rates that a norm made safe may not be once it is removed.",
    literature="Our earlier check at learning rate 0.1: range 0.37 against 2.67 and β 3.1 against 20.6 with 4 layers, range 0.13 against 6.2 with 10. Santurkar et al. 2018: predictiveness of gradients better by two orders "
    "of magnitude early in training. β depends on the scale of weights, so it decides nothing here.",
    cells=cells,
    measure=measure,
    judge=judge,
    draw=draw,
)
