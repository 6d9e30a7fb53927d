# pyright: basic
"""How much an output changes with its batch mates, by how many of them are replaced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.graph.torch import contents
from normscope.probes.answers import Estimate
from normscope.probes.answers.coupling import Mates
from normscope.probes.coupling import exchanged
from normscope.probes.intervals import resampled
from normscope.probes.judgement import Judged, judge
from normscope.probes.replay import respond
from normscope.record.torch.batches import Kept

PAIRS = 24  # of batches: one gives the samples that stay, the other the mates


class Sized(Protocol):
    """A batch of any framework."""

    samples: int


AnyBatch = TypeVar("AnyBatch", bound=Sized)


def pairs_of(
    batches: Sequence[AnyBatch], size: int, most: int = PAIRS
) -> list[tuple[AnyBatch, AnyBatch]]:
    """Pairs of batches of `size` samples, none in two pairs."""
    alike = [b for b in batches if b.samples == size]
    return [*zip(alike[::2], alike[1::2], strict=False)][:most]


def steps_of(size: int) -> list[int]:
    """1, 2, 4, … and half of the batch: so many mates are replaced, and the first half always stays."""
    half = size // 2
    doublings = [2**k for k in range(half.bit_length()) if 2**k < half]
    return [*doublings, half] if half else []


def in_evaluation(model: nn.Module) -> None:
    """The mode that the model's own `eval()` leaves."""
    model.eval()


def in_training(model: nn.Module) -> None:
    """The mode that the model's own `train()` leaves; batch norms keep their running statistics."""
    model.train()
    for module in contents.modules(model):
        if isinstance(module, _BatchNorm):
            module.momentum = 0.0


def mates(
    model: nn.Module,
    pairs: Sequence[tuple[Kept, Kept]],
    mode: Callable[[nn.Module], None],
) -> tuple[Mates, ...]:
    """One row for each number of replaced mates, at the same samples; the first, of 0, is what a repetition changes.

    Every forward begins with the same random state, so that masks of dropout stay with their places and are no difference. Intervals are over pairs. Empty
    when no output has one row for each sample. To be called inside `untouched`.
    """
    mode(model)
    return compared(pairs, partial(_respond, model), exchanged)


def compared(
    pairs: Sequence[tuple[AnyBatch, AnyBatch]],
    respond: Callable[[AnyBatch], Judged],
    exchange: Callable[[AnyBatch, AnyBatch, int], AnyBatch],
) -> tuple[Mates, ...]:
    """The same of whatever answers: `exchange(first, second, stay)` replaces all but the first samples of a batch."""
    size = pairs[0][0].samples
    steps = [0, *steps_of(size)]
    moved: list[list[list[float]]] = [[] for _ in steps]
    outputs: list[torch.Tensor] = []
    for first, second in pairs:
        whole = respond(first)
        if whole.output is None:
            return ()
        outputs.append(whole.output)
        for found, replaced in zip(moved, steps, strict=True):
            other = respond(exchange(first, second, size - replaced))
            if other.output is None or other.output.shape != whole.output.shape:
                return ()
            found.append(_moved(whole, other, size - size // 2))
    sd = torch.cat(outputs).std(0).square().mean().sqrt().clamp_min(1e-12)
    return tuple(_row(replaced, rows, sd) for replaced, rows in zip(steps, moved, strict=True))


def _respond(model: nn.Module, batch: Kept) -> Judged:
    torch.manual_seed(0)
    return judge(batch, respond(model, batch))


def _moved(whole: Judged, other: Judged, stay: int) -> list[float]:
    """Mean square change of the outputs that stayed, and the share of their decisions that flipped."""
    assert whole.output is not None
    assert other.output is not None
    change = float((whole.output - other.output)[:stay].square().mean())
    if whole.decision is None or other.decision is None:
        return [change]
    return [change, float((whole.decision != other.decision)[:stay].double().mean())]


def _row(replaced: int, rows: list[list[float]], sd: torch.Tensor) -> Mates:
    units = torch.tensor(rows, dtype=torch.float64)
    change = resampled(units, lambda m: m[:, 0].clamp_min(0).sqrt() / sd)
    flipped: Estimate | None = None
    if units.shape[1] > 1:
        flipped = resampled(units, lambda m: m[:, 1])
    return Mates(replaced, change, flipped)
