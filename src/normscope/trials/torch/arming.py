# pyright: basic
"""An arm set up in the process of the script, and whether it took hold by the end."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.trials.outcome import Outcome
from normscope.trials.patches import Patches
from normscope.trials.torch import exchanging
from normscope.trials.torch.becoming import become
from normscope.trials.torch.calling import refuse_what_is_left
from normscope.trials.torch.exchanging import Exchange, Touch, maker
from normscope.trials.torch.loaders import Loaders
from normscope.trials.torch.optimizers import Factor, Steps, before_build

EXCHANGES = ("group", "layer", "instance", "renorm", "ghost", "none")
FACTORS = {"lr": "lr", "wd": "weight_decay"}
NO_NORM = "the script ran no batch norm module"


class Armed:
    """An arm in force, until `finish` adds to the outcome what it did, or tells why it found nothing to change.

    Args:
        kind, value: the arm.
        steps: how many the unchanged run made, for schedules; None where that is not known.
        spare: leave norm layers alone that live already, because they are not the run's.
    """

    def __init__(
        self,
        kind: str,
        value: float | None,
        steps: int | None,
        run: Outcome,
        patches: Patches,
        *,
        spare: bool = False,
    ) -> None:
        self._run, self._patches, self._spare = run, patches, spare
        self._counter = Steps()
        self._missing: Callable[[], str] = lambda: ""
        if kind in EXCHANGES:
            self._missing = self._exchange(kind, value, steps)
        elif kind == "momentum":
            self._missing = self._momentum(value)
        elif kind in FACTORS:
            self._missing = self._factor(FACTORS[kind], 1.0 if value is None else value)
        elif kind in ("batch", "drop-last"):
            self._missing = self._loaders(kind, value)
        elif kind == "frozen-tail":
            self._missing = self._frozen_tail(0.2 if value is None else value, steps)
        self._counter.install(patches)

    @property
    def used(self) -> bool:
        """Whether an optimizer of PyTorch stepped."""
        return self._counter.count > 0

    def finish(self) -> str:
        told = self._run.told
        told.steps += self._counter.count
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            told.device_memory = int(torch.cuda.max_memory_allocated())
        return self._missing()

    def _exchange(self, kind: str, value: float | None, steps: int | None) -> Callable[[], str]:
        exchange = self._touching(Exchange(maker(kind, value, steps)))
        refuse_what_is_left(self._patches, layers=False)

        def missing() -> str:
            self._run.told.exchanged += exchange.count
            return "" if exchange.count else NO_NORM

        return missing

    def _momentum(self, value: float | None) -> Callable[[], str]:
        def same(norm: _BatchNorm) -> None:
            norm.momentum = value

        setter = self._touching(Touch(same))
        refuse_what_is_left(self._patches, layers=True)

        def missing() -> str:
            self._run.told.changed += setter.count
            return "" if setter.count else NO_NORM

        return missing

    def _touching(self, touch: Touch) -> Touch:
        if self._spare:
            touch.spare()
        touch.install(self._patches)
        before_build(touch.all, self._patches)
        return touch

    def _factor(self, entry: str, factor: float) -> Callable[[], str]:
        scaled = Factor(entry, factor)
        scaled.install(self._patches)

        def missing() -> str:
            self._run.told.changed += scaled.changed
            if scaled.changed:
                return ""
            return f"no optimizer of PyTorch stepped with a `{entry}` other than 0"

        return missing

    def _loaders(self, kind: str, value: float | None) -> Callable[[], str]:
        size = int(value) if value else None
        loaders = Loaders(batch_size=size, drop_last=kind == "drop-last")
        loaders.install(self._patches)

        def missing() -> str:
            self._run.told.changed += loaders.changed
            if loaders.changed:
                return ""
            return "no shuffled DataLoader was built: the loop makes its batches by itself"

        return missing

    def _frozen_tail(self, share: float, steps: int | None) -> Callable[[], str]:
        """Statistics fixed from the step on that begins the last share of the unchanged run."""
        if not steps:
            self._run.give_up(
                "the unchanged run of this seed counted no step of an optimizer, so its last share is not known"
            )
        others = weakref.WeakSet(_norms() if self._spare else ())
        frozen: list[None] = []

        def freeze() -> None:
            for norm in _norms():
                if norm.running_mean is not None and norm not in others:
                    become(norm, exchanging.kept(norm, exchanging.frozen(norm)))
                    frozen.append(None)

        self._counter = Steps(max(1, int((1 - share) * steps)), freeze)

        def missing() -> str:
            self._run.told.exchanged += len(frozen)
            if frozen:
                return ""
            return "the script held no batch norm with running statistics when its last share of steps began"

        return missing


def _norms() -> list[Any]:
    return [t for t in gc.get_objects() if issubclass(type(t), _BatchNorm)]
