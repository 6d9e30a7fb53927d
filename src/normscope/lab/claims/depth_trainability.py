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
    answers: dict[tuple[str, int], Answer] = {k: above(e, 5.0) for k, e in gains.items()}
    verdict = _verdict(answers)
    told = [f"{d} layers, {i}: {e}." for (i, d), e in gains.items()]
    return judgement(
        verdict,
        "accuracy gained by batch norm at 10 layers with small weights",
        gains["small weights", 10],
        *told,
    )


def _verdict(answers: dict[tuple[str, int], Answer]) -> str:
    """Of each initialization the depths at which it holds."""
    starts = {"small weights": "weights too small for its depth", "He": "He's initialization"}
    parts: list[str] = []
    for init, start in starts.items():
        own: dict[str, Answer] = {f"{d} layers": answers[init, d] for d in DEPTHS}
        told = together(own, ordered=True)
        if told.startswith("holds"):
            depths = "any depth" if told == "holds" else told.removeprefix("holds when ")
            parts.append(f"{start} and {depths}")
    if len(parts) == len(starts) and all(p.endswith("any depth") for p in parts):
        return "holds"
    return (
        f"holds when the network has {', or '.join(parts)}"
        if parts
        else together({str(k): a for k, a in answers.items()})
    )


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
    rests="NS104 plain-deep-batchnorm: beyond 20 norms in a chain without a skip batch norm itself is the obstacle; a warning where the first weights' gradient is also more than 10 times that of the last.",
    literature="Digits with JAX, plain: 97 % with 8 norms and 43 to 55 % with 30 after 6 epochs at width 64 to 128, ours is 32 wide. Yang et al. 2019: plain networks with batch norm cannot be trained at large depths.",
    mended="The verdict tells the depths by initialization and in order, where it had listed all that hold; each answer is as the rule has it.",
    cells=cells,
    measure=measure,
    judge=judge,
    draw=draw,
)
