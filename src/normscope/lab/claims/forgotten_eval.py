# pyright: basic
"""Who forgets `eval()` gets predictions that depend on the other samples of the batch."""

from __future__ import annotations

import torch
from matplotlib.axes import Axes

from normscope.lab import figures, networks
from normscope.lab.claim import EXPLAINED, Cell, Claim, Judgement, Numbers, Results, Scale
from normscope.lab.data import Data
from normscope.lab.training import Run
from normscope.lab.verdicts import above, difference, judgement, together

BATCHES = (2, 4, 8, 16, 32, 64, 128)
ARMS = ("train mode", "eval mode")


def cells(scale: Scale) -> list[dict[str, object]]:
    made = {"epochs": scale.epochs(8), "batch": 32, "rates": [0.1], "seeds": scale.seed_list()}
    return [{"arm": arm, **made} for arm in ARMS]


def measure(cell: Cell, data: Data) -> Numbers:
    """By batch size at prediction: the percentage of test images whose class differs between two random groupings, and the accuracy."""
    run = Run(cell, data, lambda m: networks.mlp(m, (data.features, 64, 64, 64, data.classes)))
    run.train()
    found: dict[str, list[float]] = {}
    state = {k: v.clone() for k, v in run.network.state_dict().items()}
    for batch in BATCHES:
        run.network.load_state_dict(state)
        run.network.train(cell["arm"] == "train mode")
        first, right = _classes(run, batch, 1)
        second, _ = _classes(run, batch, 2)
        found[f"changed {batch}"] = ((first != second).float().mean(0) * 100).tolist()
        found[f"accuracy {batch}"] = (right.float().mean(0) * 100).tolist()
    return found


def _classes(run: Run, batch: int, grouping: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Predicted classes (n, members) of the test images in their own order, predicted in a random one."""
    test = run.splits.test
    n = test.shape[1] // max(BATCHES) * max(BATCHES)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(grouping))
    given, labels = run.logits(test[:, :n][:, order], chunk=batch)
    back = order.argsort()
    predicted = given.argmax(-1)
    return predicted[back], (predicted == labels)[back]


def judge(results: Results) -> Judgement:
    train, evaluated = (results.one(arm=a) for a in ARMS)
    changed = {
        b: difference(train[f"changed {b}"], evaluated[f"changed {b}"], family=len(BATCHES))
        for b in BATCHES
    }
    lost = {
        b: difference(evaluated[f"accuracy {b}"], train[f"accuracy {b}"], family=len(BATCHES))
        for b in BATCHES
    }
    verdict = together(
        {str(b): above(e, 0.5) for b, e in changed.items()},
        when="the batch at prediction is ",
        ordered=True,
    )
    return judgement(
        verdict,
        "predictions that change with the grouping into batches of 8, against eval mode",
        changed[8],
        *(
            f"Batches of {b}: {changed[b]} of predictions change; accuracy falls by {lost[b]}."
            for b in (2, 32, 128)
        ),
    )


def draw(results: Results, axes: Axes) -> None:
    arms = {
        f"{arm}: predictions that change": [results.one(arm=arm)[f"changed {b}"] for b in BATCHES]
        for arm in ARMS
    }
    arms["train mode: errors"] = [
        [100 - v for v in results.one(arm="train mode")[f"accuracy {b}"]] for b in BATCHES
    ]
    figures.lines(axes, BATCHES, arms, label="batch size at prediction", unit="% of test images")


CLAIM = Claim(
    name="forgotten-eval",
    seeds=(EXPLAINED,),
    says="Without `model.eval()` the prediction for an image depends on the other images of its batch.",
    design="One perceptron with three batch norms, trained at batch 32. The same test images are predicted twice, grouped into batches at random in two ways.",
    arms=ARMS,
    rule="For each batch size: holds when at least 0.5 % more predictions change than in eval mode, with an interval above 0 "
    "(Bonferroni over the sizes); the sizes where it holds are named when it is not all.",
    plot="The share of predictions that change, and the errors, by batch size at prediction.",
    rests="NS401 inference-in-train-mode: an error where what is computed in training mode meets a loss or a decision. NS603 batch-leak asks what the company is worth: a warning from 1 percentage point between the loader's batches and shuffled ones.",
    literature="Digits perceptron evaluated with batch statistics: 83.8 against 97.3 % at batch 4, 27.2 against 44.7 % at batch 2 (trained at that size, ours at 32).",
    cells=cells,
    measure=measure,
    judge=judge,
    draw=draw,
)
