# pyright: basic
"""γ = 0 at the start: on a plain path, and at the end of residual branches."""

from __future__ import annotations

from matplotlib.axes import Axes

from normscope.lab import figures, networks
from normscope.lab.claim import FAILING, Cell, Claim, Judgement, Numbers, Results, Scale
from normscope.lab.data import Data
from normscope.lab.training import tuned
from normscope.lab.verdicts import above, below, difference, judgement

BLOCKS = (4, 15)
PATHS = ("plain", "residual")


def cells(scale: Scale) -> list[dict[str, object]]:
    made = {
        "batch": 64,
        "epochs": scale.epochs(5),
        "rates": [0.3, 0.1, 0.03, 0.01],
        "seeds": scale.seed_list(),
    }
    return [
        {"arm": f"γ = {g}", "path": p, "blocks": b, **made}
        for p in PATHS
        for b in BLOCKS
        for g in (1, 0)
    ]


def measure(cell: Cell, data: Data) -> Numbers:
    gamma = float(cell["arm"][-1])
    return tuned(
        cell,
        data,
        lambda m: networks.residual_mlp(
            m,
            data.features,
            32,
            data.classes,
            cell["blocks"],
            gamma=gamma,
            skip=cell["path"] == "residual",
        ),
    )


def judge(results: Results) -> Judgement:
    change = {}
    for p in PATHS:
        for b in BLOCKS:
            zero, one = (results.one(arm=f"γ = {g}", path=p, blocks=b)["test"] for g in (0, 1))
            change[p, b] = difference(zero, one, family=4)
    plain = [below(change["plain", b], -5.0) for b in BLOCKS]
    residual = [below(change["residual", b], -1.0) for b in BLOCKS]
    if set(plain) == {"holds"}:
        verdict = (
            "holds"
            if set(residual) == {"holds"}
            else "holds when there is no residual connection around it"
        )
    else:
        verdict = "does not hold" if set(plain) == {"does not hold"} else "undecided"
    told = [f"{p}, {b} blocks: γ = 0 against γ = 1 {e}." for (p, b), e in change.items()]
    steepest = {g: _at_largest(results, g) for g in (0, 1)}
    best = difference(steepest[0], steepest[1])
    told.append(
        f"Residual, {BLOCKS[-1]} blocks, at the learning rate 0.3 that is not tuned: γ = 0 gains {best} ({above(best, 1.0)} above 1)."
    )
    return judgement(
        verdict,
        f"accuracy with γ = 0 against γ = 1 on a plain path of {BLOCKS[0]} blocks",
        change["plain", BLOCKS[0]],
        *told,
    )


def _at_largest(results: Results, gamma: int) -> list[float]:
    numbers = results.one(arm=f"γ = {gamma}", path="residual", blocks=BLOCKS[-1])
    return numbers["test_by_rate"][numbers["rates"].index(max(numbers["rates"]))]


def draw(results: Results, axes: Axes) -> None:
    for p in PATHS:
        for g in (1, 0):
            numbers = results.one(arm=f"γ = {g}", path=p, blocks=BLOCKS[-1])
            i = 2 * PATHS.index(p) + g
            y = [sum(v) / len(v) for v in numbers["test_by_rate"]]
            axes.plot(
                numbers["rates"],
                y,
                color=figures.COLOURS[i],
                marker=figures.MARKERS[i],
                label=f"{p}, γ = {g}",
            )
    axes.set_xscale("log")
    axes.set(xlabel="learning rate", ylabel="test accuracy, %", title=f"{BLOCKS[-1]} blocks")
    figures.beside(
        axes, (0.03, 0.3), (96.7, 18.4), "earlier check, 30 residual blocks, γ = 1", like=3
    )
    figures.beside(
        axes, (0.03, 0.3), (97.8, 97.8), "earlier check, 30 residual blocks, γ = 0", like=2
    )
    for gamma, accuracy, like in ((1, (76.16, 75.89), 3), (0, (76.40, 76.26), 2)):
        name = f"ResNet-50 on ImageNet, γ = {gamma}"
        figures.beside(axes, (0.1, 3.2), accuracy, name, like=like, line=":")


CLAIM = Claim(
    name="zero-gamma",
    seeds=(FAILING,),
    says="Starting with γ = 0 severely hinders learning.",
    design="Blocks of two layers of 32 with batch norm; the second norm of each block starts with γ = 0 or 1, with a skip connection around the block or without. 4 and 15 "
    "blocks, batch 64, 5 epochs, learning rate tuned.",
    arms=("γ = 1", "γ = 0"),
    rule="Holds on plain paths when γ = 0 costs at least 5 points at both depths with intervals below 0 (Bonferroni over the four); without a condition only when it "
    "costs at least 1 point with skip connections too.",
    plot="Test accuracy by learning rate, with the earlier check at 30 blocks dashed, and ResNet-50 dotted.",
    rests="NS203 zero-gamma-on-plain-path: γ = 0 in at least 99 % of the channels is an error on a plain path, and silent at the end of a residual branch.",
    literature="Goyal et al. 2017, ResNet-50 on ImageNet, γ = 0 at the end of branches: error 23.84 → 23.60 ± 0.12 at batch 256 and learning rate 0.1, 24.11 → 23.74 ± 0.09 at 8k and 3.2: "
    "a quarter of a point, with warm-up. Ours are perceptrons on digits, for 5 epochs and without warm-up: differences that small drown.",
    cells=cells,
    measure=measure,
    judge=judge,
    draw=draw,
)
