# pyright: basic
"""Weights that stand in for the trained ones while a model is evaluated: averages that are swapped in, and out again before training.

An evaluation ran on stand-ins when the weights that the next training forward starts from, or those at the end, are others
although no step lies between. What the model held then is kept, so that it can be asked at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

import torch
from torch import nn

from normscope.graph.torch import contents
from normscope.record.torch.norms import is_lazy
from normscope.record.torch.roots import Root

if TYPE_CHECKING:
    from normscope.record.torch.observer import Observer

MOST_BYTES = 64 << 20
SPEED = 1e9  # bytes a second that copying to the host makes at the least
PARAMETERS, VALUES = 8, 64  # of a sample
SURELY = 8  # after an eighth of the steps before it an evaluation is looked at, and its state kept, whatever it costs
LOOK = 2e-4  # seconds for a look, without the state: when the evaluation begins and when training goes on
MOST = 2  # evaluations between two steps: of the raw weights and of an average


@dataclass(slots=True)
class Evaluated:
    """What a model held when an evaluation began. `state`: all of it on the host, None where that is too much."""

    step: int
    key: tuple[int, int]  # of the first parameter: its version and where it lies
    sample: list[torch.Tensor]
    state: dict[str, torch.Tensor] | None


class StandIns:
    """Looks at the weights once when an evaluation begins and once when training goes on."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self._evaluated: dict[int, list[Evaluated]] = {}
        self._found: dict[int, Evaluated] = {}
        self._looked: dict[int, int] = {}  # by model, the step of the latest evaluation looked at
        self._kept: dict[int, int] = {}  # and of the latest whose state was kept

    def note(self, root: Root, module: nn.Module) -> None:
        """Before an outermost forward of `module`."""
        if not root.record.optimized or root.swapped or root.module is not module:
            return
        if not module.training:
            if not torch.is_grad_enabled():
                self._evaluation(root, module)
        elif root.record.id in self._evaluated and torch.is_grad_enabled():
            self._compare(root, module)

    def of(self, root: Root) -> dict[str, torch.Tensor] | None:
        """At the end: what stood in for the weights of the latest evaluation that ran on others than the trained ones."""
        module = root.module
        if module is not None and root.record.id in self._evaluated:
            self._compare(root, module)
        found = self._found.get(root.record.id)
        return None if found is None else found.state

    def _evaluation(self, root: Root, module: nn.Module) -> None:
        first = next((p for p in contents.parameters(module) if not is_lazy(p)), None)
        if first is None:
            return
        step, key = self.observer.steps.count, (first._version, first.data_ptr())
        seen = self._evaluated.get(root.record.id, [])
        if seen and seen[-1].step != step:
            seen = []
        if len(seen) == MOST or (seen and seen[-1].key == key):
            return
        began, number = perf_counter(), root.record.id
        surely = _surely(step, self._looked.get(number, step))
        if not surely and not self.observer.schedule.affords(LOOK):
            return  # a model that acts between any two steps
        self._looked[number] = step
        surely = _surely(step, self._kept.get(number, step))
        affords = surely or self.observer.schedule.affords(root.bytes / SPEED)
        keep = root.bytes <= MOST_BYTES and affords
        if keep:
            self._kept[number] = step
        state = {k: v.detach().cpu().clone() for k, v in _held(module).items()} if keep else None
        self._evaluated[number] = [*seen, Evaluated(step, key, _sample(module), state)]
        self.observer.routine.record_next()
        self.observer.books.measured += perf_counter() - began

    def _compare(self, root: Root, module: nn.Module) -> None:
        """The trained weights are back: which evaluations since the latest step ran on others?"""
        began = perf_counter()
        now = _sample(module)
        for evaluated in self._evaluated.pop(root.record.id):
            changed = evaluated.step == self.observer.steps.count and not all(
                torch.equal(a, b.to(a.device)) for a, b in zip(now, evaluated.sample, strict=True)
            )
            if changed:
                root.record.stand_ins += 1
                self._found[root.record.id] = evaluated
        self.observer.books.measured += perf_counter() - began


def _surely(step: int, latest: int) -> bool:
    return step == latest or step >= latest + max(1, latest // SURELY)


def _held(module: nn.Module) -> dict[str, torch.Tensor]:
    held = {**dict(contents.named_parameters(module)), **dict(contents.named_buffers(module))}
    return {k: v for k, v in held.items() if not is_lazy(v)}


def _sample(module: nn.Module) -> list[torch.Tensor]:
    parameters = [p for p in contents.parameters(module) if not is_lazy(p)]
    chosen = parameters[:: max(1, len(parameters) // PARAMETERS)]
    return [p.detach().flatten()[:VALUES].clone() for p in chosen]
