# pyright: basic
"""Gradient magnitudes through depth, plain and residual, at initialization and after the first steps."""

from __future__ import annotations

from matplotlib.axes import Axes

from normscope.lab import figures, networks
from normscope.lab.claim import (
    EXPLAINED,
    HINDERING,
    Cell,
    Claim,
    Judgement,
    Numbers,
    Results,
    Scale,
)
from normscope.lab.data import Data
from normscope.lab.training import Run
from normscope.lab.verdicts import Answer, Effect, judgement, ratio

BLOCKS = 12  # two norms each
ARMS = ("batch plain", "batch residual", "layer plain", "none plain")
STEPS = (0, 1, 10)
INCONSISTENT = 10.0  # the bound of NS104
LAYERS = 2 * BLOCKS - 1  # between the first and the last square matrix
ONES = [1.0 + 1e-9 * (i % 2) for i in range(100)]
THEORY = 1.211


def cells(scale: Scale) -> list[dict[str, object]]:
    return [
        {
            "arm": a,
            "blocks": BLOCKS,
            "width": 128,
            "batch": 256,
            "epochs": 1,
            "rates": [0.03],
            "seeds": scale.seed_list(6),
        }
        for a in ARMS
    ]


def measure(cell: Cell, data: Data) -> Numbers:
    """`step k`: the gradient norms of the square weight matrices in order, by seed; `growth k`: per layer, towards the input."""
    kind, path = cell["arm"].split()
    run = Run(
        cell,
        data,
        lambda m: networks.residual_mlp(
            m,
            data.features,
            cell["width"],
            data.classes,
            cell["blocks"],
            kind=kind,
            skip=path == "residual",
        ),
    )
    linear = [m.weight for m in run.network.modules() if isinstance(m, networks.Linear)][1:-1]
    found: dict[str, object] = {}
    done = 0
    while done <= max(STEPS):
        for indices in run.batches():
            if done in STEPS:
                inputs, labels = run.batch(indices)
                run.losses(run.network(inputs), labels).sum().backward()
                norms = [w.grad.flatten(1).norm(dim=1) for w in linear if w.grad is not None]
                run.network.zero_grad()
                found[f"step {done}"] = [
                    [float(n[i]) for n in norms] for i in range(len(run.members))
                ]
                found[f"growth {done}"] = [
                    (float(norms[0][i] / norms[-1][i])) ** (1 / (len(norms) - 1))
                    for i in range(len(run.members))
                ]
            run.step(indices)
            done += 1
    return found


def judge(results: Results) -> Judgement:
    spans = {
        (a, s): ratio(
            [g**LAYERS for g in results.one(arm=a)[f"growth {s}"]],
            ONES[: len(results.one(arm=a)["growth 0"])],
            family=2,
        )
        for a in ARMS
        for s in STEPS
    }
    answers: dict[str, Answer] = {a.split()[1]: _consistent(spans[a, 0]) for a in ARMS[:2]}
    if answers == {"plain": "does not hold", "residual": "holds"}:
        verdict = "holds when there are residual connections"
    elif len(set(answers.values())) == 1:
        verdict = answers["plain"]
    else:
        verdict = "undecided"
    told = [
        f"{a}: first against last layer ×{spans[a, 0].value:.1f} at initialization ({spans[a, 0].value ** (1 / LAYERS):.3f} per layer), "
        f"×{spans[a, 1].value:.1f} after 1 step, ×{spans[a, 10].value:.1f} after 10."
        for a in ARMS
    ]
    return judgement(
        verdict,
        "gradient norm of the first layer against the last of 24 plain ones with batch norm, at initialization",
        spans[ARMS[0], 0],
        *told,
    )


def _consistent(span: Effect) -> Answer:
    if span.low is None or span.high is None:
        return "undecided"
    if span.low > 1 / INCONSISTENT and span.high < INCONSISTENT:
        return "holds"
    return (
        "does not hold" if span.low > INCONSISTENT or span.high < 1 / INCONSISTENT else "undecided"
    )


def draw(results: Results, axes: Axes) -> None:
    depth = list(range(2, 2 * BLOCKS + 2))
    arms = {}
    for a in ARMS:
        by_seed = results.one(arm=a)["step 0"]
        arms[
            a.replace("batch", "batch norm,")
            .replace("layer ", "layer norm, ")
            .replace("none ", "no norm, ")
        ] = [[s[i] / s[-1] for s in by_seed] for i in range(len(depth))]
    figures.lines(
        axes, depth, arms, base=None, label="layer", unit="gradient norm / that of the last"
    )
    figures.beside(
        axes,
        depth,
        [THEORY ** (depth[-1] - d) for d in depth],
        "theory, wide plain net: 1.211 per layer",
    )
    axes.set_yscale("log")


CLAIM = Claim(
    name="gradient-depth",
    seeds=(HINDERING, EXPLAINED),
    says="With batch normalization gradient magnitudes stay consistent across layers (one document); they become very large or very small early in training (another).",
    design=f"{2 * BLOCKS} hidden layers of width 128 in blocks of two, with and without skip connections, He's initialization, 256 images. Gradient norms of the "
    "weight matrices at initialization and after 1 and 10 SGD steps.",
    arms=ARMS,
    rule=f"Consistent: at initialization the gradient norms of the first and the last hidden layer differ by less than a factor of {INCONSISTENT:g}, the bound of NS104, "
    "interval included. Holds when that is so with and without skips; when only with them, that is the condition.",
    plot="The gradient norm by layer relative to the last hidden one, at initialization, with 1.211 per layer dashed.",
    rests="NS104 plain-deep-batchnorm: more than 20 norms in a chain without a skip and a ratio above 10 at step 10 or later, never at step 0.",
    literature="Yang et al. 2019: norm × 1.211 per layer for wide ReLU nets at large batch, checked at width 1024 and 24 layers; 0.99 with layer norm or He "
    "alone. Ours is narrower, and its inputs are digits instead of noise.",
    mended="The rule asked for a growth per layer within 5 %, which calls a sixfold difference over 24 residual layers inconsistent; now it asks for NS104's factor of 10 from end to end.",
    cells=cells,
    measure=measure,
    judge=judge,
    draw=draw,
)
