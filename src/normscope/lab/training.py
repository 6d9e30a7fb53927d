# pyright: basic
"""The one training loop of the lab: seeded, side by side, the learning rate chosen on validation images and never on test images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from normscope.lab.claim import Cell, Numbers
from normscope.lab.data import Data, Splits, splits
from normscope.lab.members import Members
from normscope.lab.optimizing import Optimizer

Build = Callable[[Members], nn.Module]
EVALUATED = 512  # images that are evaluated in one pass


class Run:
    """The networks of one cell, with the data that each sees.

    The cell's parameters: `seeds`, `rates` (learning rates), `epochs`, `batch`, and where they matter `optimizer`, `weight_decay`,
    `momentum` of SGD, `train_images`, `constant` (no cosine schedule).
    """

    def __init__(self, cell: Cell, data: Data, build: Build, *, flat: bool = True) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(cell["seeds"][0])
        self.cell, self.data = cell, data
        self.rates: list[float] = list(cell.get("rates", [0.1]))
        self.members = Members(cell["seeds"], len(self.rates))
        self.inputs = data.flat if flat else data.images
        self.splits: Splits = splits(data, cell["seeds"], train=cell.get("train_images"))
        self.network: Any = build(self.members)
        each = torch.tensor(self.rates).repeat_interleave(len(self.members.seeds))
        self.optimizer = Optimizer(
            self.network,
            each,
            name=cell.get("optimizer", "sgd"),
            momentum=cell.get("momentum", 0.9),
            weight_decay=cell.get("weight_decay", 0.0),
        )
        self._orders = [torch.Generator().manual_seed(500 + s) for s in cell["seeds"]]

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs (batch, members · features) and labels (batch, members) of `indices` (seeds, batch)."""
        chosen = indices.T
        return self.members.spread(self.inputs[chosen]), self.members.spread(
            self.data.labels[chosen][..., None]
        )

    def batches(self) -> list[Tensor]:
        """Indices (seeds, batch) of one epoch in a new order; what is left over is dropped."""
        train = self.splits.train
        order = torch.stack([torch.randperm(train.shape[1], generator=g) for g in self._orders])
        whole = train.gather(1, order)
        size = self.cell["batch"]
        return list(whole.split(size, 1))[: train.shape[1] // size]

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy of each member, (members,)."""
        each = logits.view(len(logits), len(self.members), -1)
        return (
            F.cross_entropy(each.flatten(0, 1), labels.flatten(), reduction="none")
            .view(labels.shape)
            .mean(0)
        )

    def step(self, indices: Tensor, factor: float = 1.0) -> Tensor:
        """One update; the losses before it."""
        inputs, labels = self.batch(indices)
        losses = self.losses(self.network(inputs), labels)
        losses.sum().backward()
        self.optimizer.step(factor)
        return losses.detach()

    def train(self, *, after: Callable[[int], None] | None = None) -> Tensor:
        """All epochs; the mean training losses of each, (epochs, members). `after` is told the number of steps after each."""
        epochs, steps = self.cell["epochs"], 0
        total = epochs * (self.splits.train.shape[1] // self.cell["batch"])
        means = []
        for _ in range(epochs):
            self.network.train()
            losses = []
            for indices in self.batches():
                factor = (
                    1.0
                    if self.cell.get("constant")
                    else 0.5 * (1 + math.cos(math.pi * steps / total))
                )
                losses.append(self.step(indices, factor))
                steps += 1
                if after is not None:
                    after(steps)
            means.append(torch.stack(losses).mean(0))
        return torch.stack(means)

    @torch.no_grad()
    def logits(self, indices: Tensor, *, chunk: int = EVALUATED) -> tuple[Tensor, Tensor]:
        """In the mode that the network is in: (n, members, classes), and the labels (n, members)."""
        parts = [self.batch(i) for i in indices.split(chunk, 1)]
        given = torch.cat([self.network(x).view(len(x), len(self.members), -1) for x, _ in parts])
        return given, torch.cat([y for _, y in parts])

    def accuracy(self, indices: Tensor, *, chunk: int = EVALUATED) -> Tensor:
        """Percent of each member; a network whose output is no number is right about nothing."""
        given, labels = self.logits(indices, chunk=chunk)
        right = (given.argmax(-1) == labels) & given.isfinite().all(-1)
        return right.float().mean(0) * 100

    def recompute(self) -> None:
        """Population statistics in place of the running ones: one pass over the training images, dropout off, the mean of equal batches."""
        layers = [
            m for m in self.network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)
        ]
        self.network.eval()
        kept = [m.momentum for m in layers]
        for m in layers:
            m.reset_running_stats()
            m.momentum = None
            m.train()
        size = min(EVALUATED, self.splits.train.shape[1])
        whole = self.splits.train[:, : self.splits.train.shape[1] // size * size]
        self.logits(whole, chunk=size)
        for m, momentum in zip(layers, kept, strict=True):
            m.momentum = momentum
        self.network.eval()


def tuned(
    cell: Cell,
    data: Data,
    build: Build,
    *,
    flat: bool = True,
    also: Callable[[Run], Mapping[str, Tensor]] | None = None,
) -> Numbers:
    """Train at every learning rate, take the one that is best on validation images, and report its test accuracies by seed.

    `also` measures more of each member on the trained networks; of that, too, the chosen rate is kept.
    """
    run = Run(cell, data, build, flat=flat)
    losses = run.train()
    run.network.eval()
    measured = {
        "validation": run.accuracy(run.splits.validation),
        "test": run.accuracy(run.splits.test),
        "train": run.accuracy(run.splits.train),
        "loss": losses[-1],
    }
    by_rate = run.members.table(measured["validation"])
    means = [sum(row) / len(row) for row in by_rate]
    best = means.index(max(means))
    if also is not None:
        measured |= also(run)
    chosen: dict[str, Any] = {k: run.members.table(v)[best] for k, v in measured.items()}
    curve = losses.view(len(losses), run.members.rates, -1)[:, best].mean(-1)
    tests = run.members.table(measured["test"])
    return chosen | {
        "rate": run.rates[best],
        "rates": run.rates,
        "validation_by_rate": means,
        "test_by_rate": tests,
        "curve": curve.tolist(),
    }
