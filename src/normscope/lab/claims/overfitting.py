# pyright: basic
"""Does batch normalization contribute to overfitting when samples are few?"""

from __future__ import annotations

from matplotlib.axes import Axes

from normscope.lab import figures, networks
from normscope.lab.claim import HINDERING, Cell, Claim, Judgement, Numbers, Results, Scale
from normscope.lab.data import Data
from normscope.lab.training import tuned
from normscope.lab.verdicts import Answer, below, difference, judgement, shown, together

IMAGES = (50, 100, 200, 400, 1000)
STEPS = 400


def cells(scale: Scale) -> list[dict[str, object]]:
    made = {"batch": 25, "rates": [0.3, 0.1, 0.03, 0.01, 0.003], "seeds": scale.seed_list(12)}
    return [
        {"arm": a, "train_images": n, "epochs": scale.epochs(STEPS * 25 // n), **made}
        for a in ("batch", "none")
        for n in IMAGES
    ]


def measure(cell: Cell, data: Data) -> Numbers:
    sizes = (data.features, 64, 64, 64, data.classes)
    return tuned(cell, data, lambda m: networks.mlp(m, sizes, kind=cell["arm"]))


def judge(results: Results) -> Judgement:
    test, gap = {}, {}
    for n in IMAGES:
        ours, others = (results.one(arm=a, train_images=n) for a in ("batch", "none"))
        test[n] = difference(ours["test"], others["test"], family=len(IMAGES))
        gaps = [[a - b for a, b in zip(r["train"], r["test"], strict=True)] for r in (ours, others)]
        gap[n] = difference(*gaps, family=len(IMAGES))
    answers: dict[str, Answer] = {str(n): below(e, -1.0) for n, e in test.items()}
    verdict = together(answers, when="the number of training images is ", ordered=True)
    at = int(shown(answers, "100"))
    told = [
        f"{n} images: test accuracy {test[n]}, gap between training and test {gap[n]}, batch norm against none."
        for n in IMAGES
    ]
    return judgement(
        verdict,
        f"test accuracy with batch norm against none on {at} training images",
        test[at],
        *told,
    )


def draw(results: Results, axes: Axes) -> None:
    arms = {
        a: [results.one(arm=a, train_images=n)["test"] for n in IMAGES] for a in ("batch", "none")
    }
    figures.lines(axes, IMAGES, arms, label="training images", unit="test accuracy, %")


CLAIM = Claim(
    name="overfitting",
    seeds=(HINDERING,),
    says="With few training samples batch normalization can contribute to overfitting.",
    design=f"Perceptrons with three hidden layers of 64 on 50 to 1000 training images, batch 25, {STEPS} steps, learning rate tuned.",
    arms=("batch", "none"),
    rule="At each number of images: holds when batch norm costs at least 1 point of test accuracy against none, with an interval below 0 (Bonferroni over the numbers).",
    plot="Test accuracy by the number of training images.",
    rests="NS604 not-normalization: a gap between training and held-out data alone is no finding about normalization; first the same data are compared in both modes.",
    literature="Weight norm instead of batch norm: better training, 6 % worse test (ResNet-50). Networks without norms overfit more without other regularizers (Brock et al. 2021). What looks like overfitting is "
    "often the gap between modes: 100 and 50 % on the same data in a report on Keras.",
    cells=cells,
    measure=measure,
    judge=judge,
    draw=draw,
)
