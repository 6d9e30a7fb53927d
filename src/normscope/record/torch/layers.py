# pyright: basic
"""A norm layer as the observer holds it: the recorded facts, and the live module by weak reference."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from normscope.record.recording import Layer
from normscope.record.torch.norms import (
    USUAL,
    Names,
    affine_of,
    batches_tracked,
    describe,
    is_fresh,
    is_lazy,
    statistics_of,
    zero_share,
)


class NormLayer:
    """One norm layer of a model."""

    __slots__ = (
        "_module",
        "alpha",
        "counter_at_start",
        "elsewhere",
        "last_forward",
        "names",
        "record",
        "refused",
        "start",
        "start_mean",
    )

    def __init__(self, record: Layer, module: nn.Module | None, names: Names = USUAL) -> None:
        self.record = record
        self.names = names  # of its tensors in the module, which may hold those of several layers
        self._module = None if module is None else weakref.ref(module)
        # Weight of the new batch in the last call that moved the statistics; None: a cumulative average.
        self.alpha: float | None = getattr(module, "momentum", None)
        self.start: list[torch.Tensor] = []  # scale and shift when first seen
        self.start_mean: torch.Tensor | None = None  # running mean when first seen
        self.last_forward: Any = None
        self.refused = 0
        self.elsewhere = 0  # calls with running statistics that are not the module's own buffers
        self.counter_at_start = batches_tracked(module)
        if module is not None:
            describe(record, module, names)
            self.start = [p.detach().clone() for p in affine_of(module, names)]
            if (stored := self.buffers()) is not None and not is_lazy(stored[0]):
                self.start_mean = stored[0].detach().clone()

    def succeeded_by(self, module: nn.Module) -> None:
        """Another module takes the place of this one, which is gone: models that build a norm in every forward."""
        self._module = weakref.ref(module)
        self.record.instances += 1
        self.counter_at_start = batches_tracked(module) - self.record.updates
        self.refused = 0

    @property
    def module(self) -> nn.Module | None:
        return self._module() if self._module is not None else None

    def buffers(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Running mean and variance as they are now: they may have been moved or replaced since."""
        module = self.module
        if module is None:
            return None
        mean, var = statistics_of(module, self.names)
        return None if mean is None or var is None else (mean, var)

    def refresh(self, optimized: Mapping[int, float], *, own: bool) -> None:
        """Bring the facts that change during a run up to date; not `own`: the module runs with lent tensors."""
        module, record = self.module, self.record
        if not own and record.fresh_at_end:
            record.updates = (
                0  # what training moved were other tensors than those that evaluation reads
            )
        if module is None or not own:
            return
        affine = affine_of(module, self.names)
        if affine and not self.start:
            describe(record, module, self.names)  # a lazy layer has its parameters only now
            self.start = [p.detach().clone() for p in affine]
        if affine:
            record.trainable = any(p.requires_grad for p in affine)
            decays = [optimized[id(p)] for p in affine if id(p) in optimized]
            record.optimized = bool(decays)
            record.weight_decay = max(decays, default=None)
            record.zero_gamma_at_end = zero_share(affine[0])
            if not record.parameters_changed:
                record.parameters_changed = any(
                    a.shape != b.shape or not torch.equal(a.detach().to(b.device), b)
                    for a, b in zip(affine, self.start, strict=False)
                )
        record.momentum = self.alpha if record.updates else getattr(module, "momentum", self.alpha)
        if (stored := self.buffers()) is not None:
            record.fresh_at_end = is_fresh(*stored)
            if self.start_mean is not None and not record.statistics_changed:
                now = stored[0].detach().to(self.start_mean.device)
                record.statistics_changed = not torch.equal(now, self.start_mean)
        # PyTorch counts a batch before it refuses it for having one value per channel.
        moved = batches_tracked(module) - self.counter_at_start - self.refused
        record.updates = max(record.updates, moved)
