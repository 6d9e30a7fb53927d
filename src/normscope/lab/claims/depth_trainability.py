# pyright: basic
"""Beyond some depth plain networks do not train; batch normalization moves that depth."""

from __future__ import annotations

from matplotlib.axes import Axes

from normscope.lab import figures, networks
from normscope.lab.claim import EXPLAINED, Cell, Claim, Judgement, Numbers, Results, Scale
from normscope.lab.data import Data
from normscope.lab.training import tuned
from normscope.lab.verdicts import Answer, above, difference, judgement, together

DEPTHS = (2, 5, 10, 20, 40)
GAINS = {
    "batch, small weights": 0.577,
    "none, small weights": 0.577,
    "batch, He": 1.414,
    "none, He": 1.414,
}


def cells(scale: Scale) -> list[dict[str, object]]:
    made = {
        "batch": 64,
        "epochs": scale.epochs(8),
        "rates": [0.3, 0.1, 0.03, 0.01],
        "seeds": scale.seed_list(8),
    }
    return [{"arm": a, "depth": d, **made} for a in GAINS for d in DEPTHS]


def measure(cell: Cell, data: Data) -> Numbers:
    sizes = (data.features, *[32] * cell["depth"], data.classes)
    kind = cell["arm"].split(",")[0]
    return tuned(cell, data, lambda m: networks.mlp(m, sizes, kind=kind, gain=GAINS[cell["arm"]]))


def judge(results: Results) -> Judgement:
    gains = {
        (init, d): difference(
            results.one(arm=f"batch, {init}", depth=d)["test"],
            results.one(arm=f"none, {init}", depth=d)["test"],
            family=2 * len(DEPTHS),
        )
        for init in ("small weights", "He")
        for d in DEPTHS
    }
    answers: dict[str, Answer] = {
        f"{d} layers with {i}": above(e, 5.0) for (i, d), e in gains.items()
    }
    verdict = together(answers, when="the network has ")
    if verdict.startswith("holds when"):
        helped = [d for d in DEPTHS if answers[f"{d} layers with small weights"] == "holds"]
        of_he = [d for d in DEPTHS if answers[f"{d} layers with He"] == "holds"]
        parts = (
            [f"the network has {_listed(helped)} layers and weights too small for its depth"]
            if helped
            else []
        )
        parts += [f"it has {_listed(of_he)} layers and He's initialization"] if of_he else []
        verdict = f"holds when {' or '.join(parts)}"
    told = [f"{d} layers, {i}: {e}." for (i, d), e in gains.items()]
    return judgement(
        verdict,
        "accuracy gained by batch norm at 10 layers with small weights",
        gains["small weights", 10],
        *told,
    )


def _listed(depths: list[int]) -> str:
    return " or ".join(map(str, depths))


def draw(results: Results, axes: Axes) -> None:
    arms = {
        a.replace("none", "no norm").replace("batch", "batch norm"): [
            results.one(arm=a, depth=d)["test"] for d in DEPTHS
        ]
        for a in GAINS
    }
    figures.lines(axes, DEPTHS, arms, label="hidden layers", unit="test accuracy, %")
    figures.beside(axes, (8, 30), (97, 49), "our earlier check, batch norm", like=2)


CLAIM = Claim(
    name="depth-trainability",
    seeds=(EXPLAINED,),
    says="Beyond a certain depth plain networks become hard to train, and batch normalization mends that.",
    design="Chains of 2 to 40 ReLU layers of width 32 without skips; weights of standard deviation √(2/n) (He) or √(1/(3n)) (the size of PyTorch's default). "
    "Batch 64, 8 epochs, learning rate tuned.",
    arms=tuple(GAINS),
    rule="At each depth and initialization: holds when batch norm gains at least 5 points of test accuracy with an interval above 0 (Bonferroni over all of them).",
    plot="Test accuracy by depth.",
    rests="NS104 plain-deep-batchnorm: beyond 20 norms in a chain batch norm itself is the obstacle.",
    literature="Digits with JAX, plain: 97 % with 8 norms and 43 to 55 % with 30 after 6 epochs at width 64 to 128. Yang et al. 2019: plain networks with batch norm cannot be trained at large depths.",
    cells=cells,
    measure=measure,
    judge=judge,
    draw=draw,
)
