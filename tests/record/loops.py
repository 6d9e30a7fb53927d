"""Small models and the usual lines of a training loop."""

from __future__ import annotations

import linecache
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from normscope.graph.model import Site
from normscope.record.recording import Call, ForwardKind, Recording, Span


class Net(nn.Module):
    """Two batch norms in 234 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8))
        self.last = nn.BatchNorm1d(8, momentum=0.2, eps=1e-3)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.last(self.body(x)))


def single() -> nn.Sequential:
    """One batch norm, which reads the model's own input."""
    return nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3))


def sgd(model: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=0.05)


def batch(size: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(size, 4)
    return x, (x[:, 0] > 0).long()


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int, size: int = 16) -> None:
    model.train()
    for _ in range(steps):
        x, y = batch(size)
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


def evaluate(model: nn.Module, batches: int, size: int = 16) -> None:
    model.eval()
    with torch.no_grad():
        for _ in range(batches):
            model(batch(size)[0])


def spans(recording: Recording, kind: ForwardKind, model: int = 0) -> list[Span]:
    """The spans of one kind of forward of one model, in order of appearance."""
    return [
        s
        for s in recording.spans
        if s.kind == kind and recording.patterns[s.pattern].model == model
    ]


def only_span(recording: Recording, kind: ForwardKind, model: int = 0) -> Span:
    [span] = spans(recording, kind, model)
    return span


def calls_in(recording: Recording, span: Span) -> tuple[Call, ...]:
    return recording.patterns[span.pattern].calls


def line_at(site: Site | None) -> str:
    """The source line that a site names."""
    return "" if site is None else linecache.getline(site.file, site.line).strip()


def told(r: Recording) -> dict[str, Any]:
    """All that does not depend on when something was measured."""
    return {
        "steps": r.steps,
        "optimizers": r.optimizers,
        "models": r.models,
        "layers": r.layers,
        "patterns": r.patterns,
        "spans": r.spans,
        "events": [(e.kind, e.step, e.layer) for e in r.events],
    }
