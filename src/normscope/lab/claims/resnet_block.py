# pyright: basic
"""The ResNet block with batch norm, without, and with layer norm: in PyTorch, and in the document's own Keras where that is installed."""

from __future__ import annotations

import os
from typing import Any

from matplotlib.axes import Axes
from torch import nn

from normscope.lab import figures, networks
from normscope.lab.claim import DOES_IT, Cell, Claim, Judgement, Numbers, Results, Scale
from normscope.lab.data import Data, splits
from normscope.lab.members import Members
from normscope.lab.training import tuned
from normscope.lab.verdicts import Answer, above, difference, judgement, shown, together

BATCHES = (4, 32)
ARMS = ("batch", "none", "layer")
WIDTH = 8


def cells(scale: Scale) -> list[dict[str, object]]:
    made = {
        "epochs": scale.epochs(5),
        "rates": [0.1, 0.03, 0.01, 0.003],
        "seeds": scale.seed_list(8),
    }
    torch_cells = [
        {"arm": a, "batch": b, "framework": "PyTorch", **made} for b in BATCHES for a in ARMS
    ]
    short = {
        "epochs": scale.epochs(6),
        "batch": 32,
        "framework": "Keras",
        "seeds": scale.seed_list(5),
    }
    return [*torch_cells, *({"arm": a, **short} for a in ARMS)]


def measure(cell: Cell, data: Data) -> Numbers:
    if cell["framework"] == "Keras":
        return _keras(cell, data)
    return tuned(cell, data, lambda m: _network(m, cell["arm"], data), flat=False)


def _network(members: Members, kind: str, data: Data) -> nn.Module:
    """A strided convolution, two blocks, the mean over positions, a classifier."""
    return nn.Sequential(
        networks.Conv(members, data.images.shape[1], WIDTH, stride=2),
        *(networks.Residual(_branch(members, kind), nn.ReLU()) for _ in range(2)),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        networks.Linear(members, 4 * WIDTH, data.classes, gain=1.0),
    )


def _branch(members: Members, kind: str) -> nn.Sequential:
    return nn.Sequential(
        networks.Conv(members, WIDTH, WIDTH),
        networks.norm(kind, members, WIDTH),
        nn.ReLU(),
        networks.Conv(members, WIDTH, WIDTH),
        networks.norm(kind, members, WIDTH),
    )


def _keras(cell: Cell, data: Data) -> Numbers:
    """The same network of the document's three block functions, with Adam at Keras' own settings; `missing` where there is no Keras."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    try:
        import keras
    except ImportError:  # Keras, or what its backend needs, is not installed
        return {"missing": True}

    found: dict[str, list[float]] = {"test": []}
    quiet: Any = {"verbose": 0}
    for seed in cell["seeds"]:
        keras.utils.set_random_seed(seed)
        split = splits(data, [seed])
        x, y = data.images.permute(0, 2, 3, 1).numpy(), data.labels.numpy()
        inputs = keras.Input(x.shape[1:])
        h: Any = keras.layers.Conv2D(WIDTH, 3, strides=2, padding="same")(inputs)
        for _ in range(2):
            h = _keras_block(keras.layers, h, cell["arm"])
        h = keras.layers.Flatten()(keras.layers.AveragePooling2D(2)(h))
        model = keras.Model(inputs, keras.layers.Dense(data.classes)(h))
        model.compile(
            "adam",
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        train, test = split.train[0].numpy(), split.test[0].numpy()
        model.fit(x[train], y[train], batch_size=cell["batch"], epochs=cell["epochs"], **quiet)
        found["test"].append(100 * float(model.evaluate(x[test], y[test], **quiet)[1]))
    return found


def _keras_block(layers: Any, x: Any, kind: str) -> Any:
    """Convolution, norm, ReLU, convolution, norm, addition, ReLU. Layer norm is over channels alone there, as Keras' default has it."""
    norm = {"batch": layers.BatchNormalization, "layer": layers.LayerNormalization}.get(kind)
    h = layers.Conv2D(WIDTH, 3, padding="same")(x)
    h = layers.Activation("relu")(norm()(h) if norm else h)
    h = layers.Conv2D(WIDTH, 3, padding="same")(h)
    return layers.Activation("relu")(layers.Add()([norm()(h) if norm else h, x]))


def judge(results: Results) -> Judgement:
    found = {
        (a, b): difference(
            results.one(arm=a, batch=b, framework="PyTorch")["test"],
            results.one(arm="batch", batch=b, framework="PyTorch")["test"],
            family=4,
        )
        for b in BATCHES
        for a in ("none", "layer")
    }
    labels = {"none": "it has no norm", "layer": "it has layer norm"}
    answers: dict[tuple[str, int], Answer] = {k: above(e, 1.0) for k, e in found.items()}
    verdict = together({f"{labels[a]} and the batch is {b}": v for (a, b), v in answers.items()})
    arm, batch = shown(answers, ("none", 32))
    told = [
        f"{figures.NAMES[a]} against batch norm, batch {b}: {e}." for (a, b), e in found.items()
    ]
    of_keras = {a: results.one(arm=a, framework="Keras") for a in ARMS}
    if any("missing" in r for r in of_keras.values()):
        told.append("Keras is not installed here: the document's own form was not run.")
    else:
        told += [
            f"In Keras, batch 32, Adam: {figures.NAMES[a]} against batch norm {difference(of_keras[a]['test'], of_keras['batch']['test'], family=2)}."
            for a in ARMS[1:]
        ]
    return judgement(
        verdict,
        f"accuracy with {figures.NAMES[arm]} against batch norm, batch {batch}",
        found[arm, batch],
        *told,
    )


def draw(results: Results, axes: Axes) -> None:
    arms = {
        f"{figures.NAMES[a]}\nbatch {b}": results.one(arm=a, batch=b, framework="PyTorch")["test"]
        for b in BATCHES
        for a in ARMS
    }
    for a in ARMS:
        numbers = results.one(arm=a, framework="Keras")
        if "test" in numbers:
            arms[f"{figures.NAMES[a]}\nKeras"] = numbers["test"]
    figures.dots(axes, arms, unit="test accuracy, %")


CLAIM = Claim(
    name="resnet-block",
    seeds=(DOES_IT,),
    says="A ResNet block can do better without batch normalization, with another learning rate, or with layer norm instead.",
    design=f"A strided convolution, two residual blocks of {WIDTH} channels, a classifier; the blocks with batch norm, without norm (He's initialization), with layer norm over channels and positions. "
    "Batches of 4 and 32, 5 epochs, learning rate tuned. Where Keras is installed the document's three functions, too: 6 epochs, batch 32, Adam at its defaults. As the document calls them they "
    "cannot be built: the addition joins 3 channels with 64, so a convolution stands before.",
    arms=ARMS,
    rule="For each replacement and batch size: holds when it is at least 1 point above batch norm, with an interval above 0 (Bonferroni over the four). Keras is shown, not judged: its learning rate is not tuned.",
    plot="Test accuracy by norm, batch size and framework.",
    rests="NS606 better-without, for which an arm of a trial must be significantly better on the user's own task; the repairs `remove-batchnorm` and `convert-layer`, which change the function.",
    literature="ResNet-50 on ImageNet at batch 32: error 23.6 with batch norm, 25.3 with layer norm, 24.1 with group norm. Fixup (no norm), ResNet-110 on CIFAR-10: 7.24 against 6.61.",
    mended="Smaller learning rates and more seeds, for without norm the least rate of the grid had been the best.",
    note="At batch 4 a map of 4 × 4 positions still gives 64 values a channel, "
    "so that batch norm does not fall behind as it does in perceptrons.",
    cells=cells,
    measure=measure,
    judge=judge,
    draw=draw,
)
