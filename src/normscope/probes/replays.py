# pyright: basic
"""The second probe at the end of a run: one pass of the kept batches in evaluation mode, and one with dropout on.

Unlike the gap probe it judges no loss; it measures what flows: whether batches are independent draws, what padding and dropout do
to the statistics, which channels and activations are stuck, and on which scale the inputs are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import msgspec
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.errors import NormscopeError
from normscope.probes import dropout
from normscope.probes.clock import now
from normscope.probes.independence import independence
from normscope.probes.observations import DropoutShift, DropoutShifts, PaddedNorm, Padding, Signal
from normscope.probes.padding import Padded, mask_of
from normscope.probes.replay import bare, replay, set_mode
from normscope.probes.saturation import Saturations
from normscope.probes.signals import Norms, input_scale
from normscope.probes.untouched import untouched
from normscope.probes.visit import Calls, paths, visit
from normscope.record.torch.batches import Kept

MOST_SAMPLES, FEWEST = 4096, 16  # samples; but so many batches whatever their size
PATIENCE = 3  # times the granted seconds that four batches may take


class Sized(Protocol):
    """A kept batch of any framework."""

    samples: int


AnyKept = TypeVar("AnyKept", bound=Sized)


@dataclass(frozen=True, slots=True)
class Subject:
    """The model as the recording has it."""

    model: int
    name: str
    ids: Mapping[_BatchNorm, int]
    paths: Mapping[_BatchNorm, str]


def measure(
    module: nn.Module, kept: Sequence[Kept], subject: Subject, *, seconds: float = 3.0
) -> dict[str, msgspec.Struct]:
    """Answers by evidence name, those that there are, in about `seconds`; the model is untouched afterwards.

    Raises NormscopeError with the reason when the model cannot be asked in that time or there is nothing to ask it with.
    """
    if len(kept) < 2:
        raise NormscopeError("fewer than two training batches were kept")
    began = now()
    module = bare(module)
    batches = chosen(kept)
    with untouched(module):
        set_mode(module)
        start = now()
        replay(module, batches[-1])
        once = now() - start
        if 4 * once > PATIENCE * seconds:
            raise NormscopeError(
                f"replaying it would take about {4 * once:.2g} seconds, of which {seconds:.2g} are granted"
            )
        masks = {id(b): m for b in batches if (m := mask_of(b)) is not None}
        norms, padded = Norms(middle(batches)), Padded(masks)
        with paths(module) as running:
            saturations = Saturations(running)
            seen = _visit(module, batches, norms, padded, saturations, began + 0.5 * seconds)
        late = [b for b in seen if b.step >= middle(batches)] or seen[-1:]
        shifts = dropout.shifts(module, late, subject.ids, subject.paths, now() + 0.3 * seconds)
    return answers(subject, seen, norms, padded, saturations, shifts)


def chosen(kept: Sequence[AnyKept]) -> list[AnyKept]:
    """Batches spread over the run, in the order of the run, within `MOST_SAMPLES`."""
    mean = sum(b.samples for b in kept) / len(kept)
    most = max(FEWEST, int(MOST_SAMPLES / max(mean, 1)))
    if len(kept) <= most:
        return list(kept)
    return [kept[round(i * (len(kept) - 1) / (most - 1))] for i in range(most)]


def _visit(
    module: nn.Module,
    batches: list[Kept],
    norms: Norms,
    padded: Padded,
    saturations: Saturations,
    deadline: float,
) -> list[Kept]:
    """In an order that is spread over the run however early the deadline is; returned in the order of the run."""
    seen: list[int] = []
    with Calls(saturations.call):
        for i in spread_order(len(batches)):
            saturations.begin(counting=batches[i].step >= middle(batches))
            visit(module, [batches[i]], [norms, padded], deadline)
            seen.append(i)
            if now() > deadline:
                break
    return [batches[i] for i in sorted(seen)]


def spread_order(count: int) -> list[int]:
    """The numbers below `count`, so that any first few are spread evenly; from the end on, so that the latest is among them."""
    return sorted(range(count), key=lambda i: _reversed_bits(count - 1 - i, count))


def _reversed_bits(i: int, count: int) -> float:
    """Van der Corput's sequence: any number of first terms is spread evenly."""
    width = max(1, (count - 1).bit_length())
    return int(f"{i:0{width}b}"[::-1], 2) / 2**width


def answers(
    subject: Subject,
    seen: list[Kept],
    norms: Norms,
    padded: Padded,
    saturations: Saturations,
    shifts: tuple[DropoutShift, ...] | None,
) -> dict[str, msgspec.Struct]:
    """By evidence name, of the batches that were seen, in the order of the run."""
    model, name, samples = subject.model, subject.name, sum(b.samples for b in seen)
    size = Counter(b.samples for b in seen).most_common(1)[0][0]
    found: dict[str, msgspec.Struct] = {
        "signal": Signal(
            model=model,
            name=name,
            samples=samples,
            batches=len(seen),
            values=tuple(norms.values(subject.ids, subject.paths, size)),
            channels=tuple(norms.channels(subject.ids, subject.paths)),
            activations=saturations.answer(),
            input=input_scale([b for b in seen if b.step >= middle(seen)]),
        ),
        "padding": _padding(subject, seen, padded),
    }
    answer = independence(norms.samples(seen, subject.paths), model=model, name=name)
    if answer is not None:
        found["independence"] = answer
    if shifts is not None:
        found["dropout"] = DropoutShifts(model=model, name=name, samples=samples, layers=shifts)
    return found


def _padding(subject: Subject, seen: list[Kept], padded: Padded) -> Padding:
    """Without a share where not even half of the batches show padding: then it was something else."""
    masks = [padded.masks.get(id(b)) for b in seen]
    shares = torch.tensor([0.0 if m is None else float(m.double().mean()) for m in masks])
    there = len(shares) > 1 and 2 * int((shares > 0).sum()) > len(shares)
    layers = tuple(
        PaddedNorm(subject.ids[n], subject.paths[n], *padded.effect(n))
        for n in padded.all
        if there and n in subject.ids
    )
    return Padding(
        model=subject.model,
        name=subject.name,
        samples=sum(b.samples for b in seen),
        share=float(shares.mean()) if there else 0.0,
        spread=float(shares.std()) if there else 0.0,
        layers=layers,
    )


def middle(batches: Sequence[Kept]) -> float:
    """The step from which on what is judged by weights at the end is judged: a model that was trained on other data first is
    asked about the data that it was trained on last."""
    return (batches[0].step + batches[-1].step) / 2
