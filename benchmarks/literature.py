"""What the probes say of networks whose figures were measured before by other code: digits, and one setting at a time turned bad.

The earlier figures are of a program in JAX. Here PyTorch trains the same perceptron on the same images, with as many seeds and the learning
rate chosen as it was there: of the same candidates the one whose running statistics decide best on held-out images, in the mean over seeds. The
answers come from `normscope.probe`: `domain` compares running statistics with those recomputed on training images, both judged
on held-out images; `gap` gives batch statistics on training images, and what is to blame. `--write` puts the table into docs/probes.md.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

import normscope

PAGE = Path(__file__).parents[1] / "docs" / "probes.md"
BEGIN = "<!-- measured by benchmarks/literature.py --write -->\n"
END = "<!-- end -->\n"
TRAIN, DEPTH, WIDTH = 1280, 4, 128
FULL, SHORT = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003), (0.1, 0.03, 0.01)


@dataclass(frozen=True)
class Row:
    """One setting, with right decisions in percent as they were measured before, over so many `seeds`.

    `rate` is the learning rate at the start: the best of the candidates `rates`, where there is more than one.
    """

    name: str
    running: float
    recomputed: float
    batch: int = 32
    momentum: float = 0.1
    epochs: int = 12
    dropout: float = 0.0  # directly before each batch norm, which then stands behind the ReLU
    rate: float = 0.1
    rates: tuple[float, ...] = (0.1,)
    seeds: int = 8


ROWS = (
    Row("momentum 0.1, 40 steps", 96.2, 96.4, epochs=1),
    Row("momentum 0.01, 40 steps", 82.4, 96.4, momentum=0.01, epochs=1),
    Row("momentum 0.01, 480 steps", 99.0, 99.0, momentum=0.01),
    Row("momentum 0.001, 480 steps", 90.0, 99.0, momentum=0.001),
    Row("batch 32", 99.0, 98.9, rate=0.3, rates=FULL, seeds=3),
    Row("batch 2", 44.7, 50.2, batch=2, rate=0.001, rates=FULL, seeds=3),
    Row("dropout 0.2 before batch norm", 98.5, 98.7, dropout=0.2, rates=SHORT),
    Row("dropout 0.5 before batch norm", 92.7, 94.3, dropout=0.5, rates=SHORT),
    Row("dropout 0.7 before batch norm", 17.5, 56.5, dropout=0.7, rate=0.03, rates=SHORT),
)


@cache
def data() -> tuple[torch.Tensor, torch.Tensor]:
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x = (x - x.mean()) / x.std()
    return torch.tensor(x[order], dtype=torch.float32), torch.tensor(y[order])


def net(row: Row) -> nn.Sequential:
    layers: list[nn.Module] = []
    width = 64
    for _ in range(DEPTH):
        linear = nn.Linear(width, WIDTH)
        nn.init.normal_(linear.weight, std=math.sqrt(2 / width))
        nn.init.zeros_(linear.bias)
        norm = nn.BatchNorm1d(WIDTH, momentum=row.momentum)
        inner = [nn.ReLU(), nn.Dropout(row.dropout), norm] if row.dropout else [norm, nn.ReLU()]
        layers += [linear, *inner]
        width = WIDTH
    last = nn.Linear(width, 10)
    nn.init.normal_(last.weight, std=math.sqrt(1 / width))
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, last)


def batches(row: Row, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    x, y = data()
    order = torch.randperm(TRAIN, generator=torch.Generator().manual_seed(seed))
    for i in order.split(row.batch):
        yield x[i], y[i]


def trained(row: Row, seed: int) -> nn.Sequential:
    """By gradient descent with momentum 0.9 and a learning rate that falls as a cosine."""
    torch.manual_seed(seed)
    model = net(row)
    optimizer = torch.optim.SGD(model.parameters(), row.rate, momentum=0.9)
    steps = TRAIN // row.batch * row.epochs
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for epoch in range(row.epochs):
        for x, y in batches(row, 1000 * seed + epoch):
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model


@torch.no_grad()
def right(model: nn.Module) -> float:
    """Right decisions on held-out images with running statistics, in percent."""
    x, y = data()
    return 100 * float((model.eval()(x[TRAIN:]).argmax(1) == y[TRAIN:]).float().mean())


def best(row: Row, seeds: int) -> tuple[float, list[nn.Sequential]]:
    """The best learning rate of the candidates, and the networks that were trained with it."""
    found: dict[float, list[nn.Sequential]] = {
        rate: [trained(replace(row, rate=rate), seed) for seed in range(seeds)]
        for rate in row.rates
    }
    rate = max(found, key=lambda r: statistics.mean(right(model) for model in found[r]))
    return rate, found[rate]


def asked(row: Row, model: nn.Sequential | None = None) -> normscope.Diagnosis:
    """The probes on one trained network; without one, on that of the first seed with the rate that the row gives."""
    x, y = data()
    held_out = [*zip(x[TRAIN:].split(47), y[TRAIN:].split(47), strict=True)]
    setup = {
        "model": (model or trained(row, 0)).train(),
        "train": [*batches(row, 999_999)],
        "held_out": held_out,
        "loss": nn.CrossEntropyLoss(),
    }
    return normscope.probe(setup, "gap", "domain", seconds=120)


@dataclass(frozen=True)
class Answer:
    """Right decisions in percent."""

    running: float
    recomputed: float
    batch_statistics: float
    blamed: str

    @classmethod
    def of(cls, diagnosis: normscope.Diagnosis) -> Answer:
        measured: Any = diagnosis.recording.measurements
        [gap], [domain] = measured["gap"], measured["domain"]
        [held_out] = domain.shifts
        codes = sorted({f.code for f in diagnosis.findings if f.code in ("NS408", "NS601")})
        return cls(
            100 * (1 - held_out.error.before),
            100 * (1 - held_out.error_beside.before),
            100 * (1 - gap.error_batch),
            ", ".join(codes),
        )


def line(row: Row, seeds: int) -> str:
    rate, models = best(row, seeds)
    found = [Answer.of(asked(row, model)) for model in models]

    def told(name: str) -> str:
        values = [getattr(a, name) for a in found]
        return f"{statistics.mean(values):.1f} ± {statistics.pstdev(values):.1f}"

    blamed = [a.blamed for a in found]
    codes = sorted({code for b in blamed for code in b.split(", ") if code})
    verdict = "; ".join(f"{c} in {sum(c in b for b in blamed)} of {seeds}" for c in codes) or "none"
    return (
        f"| {row.name} | {rate:g} | {seeds} | {row.running} | {told('running')} | {row.recomputed} | {told('recomputed')} | "
        f"{told('batch_statistics')} | {verdict} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, help="for every row; otherwise as many as before")
    parser.add_argument("--only", help="rows whose name holds this")
    parser.add_argument("--write", action="store_true", help="write the table into docs/probes.md")
    given = parser.parse_args()
    torch.set_num_threads(1)
    table = [
        "| setting | learning rate | seeds | running, before | running, now | recomputed, before | recomputed, now | batch statistics, training images | findings |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for row in ROWS:
        if given.only is None or given.only in row.name:
            table.append(line(row, given.seeds or row.seeds))
            print(table[-1], flush=True)
    if given.write:
        page = PAGE.read_text()
        head, rest = page.split(BEGIN)
        _, _, tail = rest.partition(END)
        PAGE.write_text(head + BEGIN + "\n".join(table) + "\n" + END + tail)


if __name__ == "__main__":
    main()
