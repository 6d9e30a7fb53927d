# pyright: basic
"""Running averages come near the population's statistics; small batches keep them noisy."""

from __future__ import annotations

import math

import torch
from matplotlib.axes import Axes

from normscope.lab import figures, networks
from normscope.lab.claim import EXPLAINED, Cell, Claim, Judgement, Numbers, Results, Scale
from normscope.lab.data import Data
from normscope.lab.training import Run
from normscope.lab.verdicts import above, judgement, ratio

BATCHES = (2, 4, 8, 16, 32, 64, 128)
FORWARDS = (1, 10, 100, 400)
MOMENTUM = 0.1
CHUNK = 1024  # images


def cells(scale: Scale) -> list[dict[str, object]]:
    return [{"arm": "batch", "batch": b, "seeds": scale.seed_list()} for b in BATCHES]


def measure(cell: Cell, data: Data) -> Numbers:
    """By number of forwards: the root mean square over channels of |running mean − population mean| / population sd, by seed."""
    run = Run(cell, data, lambda m: networks.mlp(m, (data.features, 64, data.classes)))
    linear, norm = run.network[0], run.network[1]
    with torch.no_grad():
        parts = run.splits.train.split(CHUNK, 1)  # of large sets, side by side, in pieces
        population = torch.cat([run.members.apart(linear(run.batch(p)[0])) for p in parts])
    center, width = population.mean(0), population.std(0)
    found: dict[str, list[float]] = {}
    done = 0
    with torch.no_grad():
        while done < max(FORWARDS):
            for indices in run.batches():
                run.network(run.batch(indices)[0])
                done += 1
                if done in FORWARDS:
                    distance = (run.members.apart(norm.running_mean[None])[0] - center) / width
                    found[f"after {done}"] = distance.square().mean(-1).sqrt().tolist()
                if done == max(FORWARDS):
                    break
    return found


def judge(results: Results) -> Judgement:
    last = f"after {FORWARDS[-1]}"
    at_2, at_64 = (results.one(batch=b)[last] for b in (2, 64))
    begun = results.one(batch=64)["after 1"]
    noisy, closer = ratio(at_2, at_64, family=2), ratio(begun, at_64, family=2)
    both = above(noisy, 3.0), above(closer, 3.0)
    verdict = (
        "holds"
        if both == ("holds", "holds")
        else "undecided"
        if "undecided" in both
        else "does not hold"
    )
    expected = {b: math.sqrt(MOMENTUM / (2 - MOMENTUM) / b) for b in (2, 64)}
    return judgement(
        verdict,
        "distance of running means at batch 2 against batch 64, after 400 forwards",
        noisy,
        f"At batch 64 the distance falls to 1/{closer.value:.0f} of that after the first forward [{closer.low:.0f}, {closer.high:.0f}].",
        f"Distance in standard deviations: {sum(at_2) / len(at_2):.3f} at batch 2 and {sum(at_64) / len(at_64):.3f} at 64; "
        f"√(α/(2−α)/n) gives {expected[2]:.3f} and {expected[64]:.3f}. More forwards do not lower it, for the window is 19 batches; "
        f"at 64 these cover the data more than once without repeating an image, which does better than independent samples.",
    )


def draw(results: Results, axes: Axes) -> None:
    arms = {
        f"after {k} forwards": [results.one(batch=b)[f"after {k}"] for b in BATCHES]
        for k in FORWARDS
    }
    figures.lines(axes, BATCHES, arms, label="batch size", unit="|running − population mean| / sd")
    theory = [math.sqrt(MOMENTUM / (2 - MOMENTUM) / b) for b in BATCHES]
    figures.beside(axes, BATCHES, theory, "√(α/(2−α)/n)", like=3)
    axes.set_yscale("log")


CLAIM = Claim(
    name="running-averages",
    seeds=(EXPLAINED,),
    says="During training the running averages converge to the statistics of the whole data; batches of two or four keep them noisy.",
    design="Batch norm behind one random linear map, weights fixed, momentum 0.1 (PyTorch's sense). The distance of the running means from the "
    "statistics of all training images, after 1, 10, 100 and 400 batches.",
    arms=tuple(f"batch {b}" for b in BATCHES),
    rule="Holds when after 400 forwards the distance at batch 2 is at least 3 times that at batch 64, and at batch 64 at most a third of that after "
    "one forward, both with intervals above 1. Ratios are geometric means over seeds.",
    plot="The distance by batch size, with the formula for independent samples.",
    rests="NS202 slow-running-average (the weight (1−α)^t of the first values) and the noise floors of NS601 batch-statistics-gap and NS408 stale-statistics: a difference counts above three times its noise.",
    literature="Variance of the average α/(2−α) times that of a batch's mean; simulated 0.0523, formula 0.0526.",
    cells=cells,
    measure=measure,
    judge=judge,
    draw=draw,
)
