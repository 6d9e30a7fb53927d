"""What the probes say of networks whose figures were measured before by other code: digits, and one setting at a time turned bad.

The earlier figures are of a program in JAX (means of 3 to 8 seeds, learning rate chosen for each row). Here PyTorch trains the same
perceptron on the same images, and the answers come from `normscope.probe`: `domain` compares running statistics with those
recomputed on training images, both judged on held-out images; `gap` gives batch statistics on training images, and what is
to blame. `--write` puts the table into docs/probes.md.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Row:
    """One setting, with right decisions in percent as they were measured before; `rate` is the learning rate at the start."""

    name: str
    running: float
    recomputed: float
    batch: int = 32
    momentum: float = 0.1
    epochs: int = 12
    dropout: float = 0.0  # directly before each batch norm, which then stands behind the ReLU
    rate: float = 0.1


ROWS = (
    Row("momentum 0.1, 40 steps", 96.2, 96.4, epochs=1),
    Row("momentum 0.01, 40 steps", 82.4, 96.4, momentum=0.01, epochs=1),
    Row("momentum 0.01, 480 steps", 99.0, 99.0, momentum=0.01),
    Row("momentum 0.001, 480 steps", 90.0, 99.0, momentum=0.001),
    Row("batch 32", 99.0, 98.9),
    Row("batch 2", 44.7, 50.2, batch=2, rate=0.003),
    Row("dropout 0.2 before batch norm", 98.5, 98.7, dropout=0.2),
    Row("dropout 0.5 before batch norm", 92.7, 94.3, dropout=0.5),
    Row("dropout 0.7 before batch norm", 17.5, 56.5, dropout=0.7),
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


def asked(row: Row, seed: int = 0) -> normscope.Diagnosis:
    """The probes on one trained network."""
    x, y = data()
    held_out = [*zip(x[TRAIN:].split(47), y[TRAIN:].split(47), strict=True)]
    setup = {
        "model": trained(row, seed),
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
    found = [Answer.of(asked(row, seed)) for seed in range(seeds)]

    def told(name: str) -> str:
        values = [getattr(a, name) for a in found]
        spread = f" ± {statistics.stdev(values):.1f}" if seeds > 1 else ""
        return f"{statistics.mean(values):.1f}{spread}"

    blamed = [a.blamed for a in found]
    codes = sorted({code for b in blamed for code in b.split(", ") if code})
    verdict = "; ".join(f"{c} in {sum(c in b for b in blamed)} of {seeds}" for c in codes) or "none"
    return (
        f"| {row.name} | {row.running} | {told('running')} | {row.recomputed} | {told('recomputed')} | "
        f"{told('batch_statistics')} | {verdict} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--only", help="rows whose name holds this")
    parser.add_argument("--write", action="store_true", help="write the table into docs/probes.md")
    given = parser.parse_args()
    torch.set_num_threads(1)
    table = [
        "| setting | running, before | running, now | recomputed, before | recomputed, now | batch statistics, training images | findings |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for row in ROWS:
        if given.only is None or given.only in row.name:
            table.append(line(row, given.seeds))
            print(table[-1], flush=True)
    if given.write:
        page = PAGE.read_text()
        head, rest = page.split(BEGIN)
        _, _, tail = rest.partition(END)
        PAGE.write_text(head + BEGIN + "\n".join(table) + "\n" + END + tail)


if __name__ == "__main__":
    main()
