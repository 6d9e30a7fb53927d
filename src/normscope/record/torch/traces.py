# pyright: basic
"""Modules that `torch.jit.trace` made: their norm layers run where nothing can be seen, in the mode in which they were traced."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from normscope.record.guard import guarded
from normscope.record.timeline import Forward
from normscope.record.torch.layers import NormLayer
from normscope.record.torch.norms import norms_in
from normscope.record.torch.stack import user_site

if TYPE_CHECKING:
    from normscope.record.torch.observer import Observer

Mode = tuple[
    NormLayer, bool, bool
]  # a layer, whether it uses the batch's statistics, and moves its own


class Traces:
    """Remembers each trace's modes, and tells what a call of it does."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self._known: weakref.WeakKeyDictionary[nn.Module, tuple[bool, list[Mode]]] = (
            weakref.WeakKeyDictionary()
        )

    @guarded
    def made(self, original: nn.Module, trace: Any) -> None:
        """A module was traced: calls of the trace are calls of the model, whose tensors it shares."""
        observer = self.observer
        root = observer.registry.root_of(original)
        if root is None or not isinstance(trace, torch.jit.ScriptModule):
            return
        layers = {x.module: x for x in root.layers}
        modes: list[Mode] = []
        for _, norm, _ in norms_in(original):
            if (layer := layers.get(norm)) is not None and layer.record.kind == "batch":
                batch = norm.training or not layer.record.tracks
                modes.append((layer, batch, bool(norm.training and layer.record.tracks)))
        if not modes:
            return
        training = any(layer.record.tracks and batch for layer, batch, _ in modes)
        self._known[trace] = training, modes
        observer.registry.stands_for(trace, root)
        if training:
            site = user_site(3)
            observer.event("traced", model=root.record.id, detail="in training mode", site=site)

    def fill(self, forward: Forward, module: nn.Module, args: tuple[Any, ...]) -> None:
        """Give the forward of a trace the mode and the calls that it has inside."""
        if not self._known or (known := self._known.get(module)) is None:
            return
        forward.training, modes = known
        x = args[0] if args else None
        samples = x.shape[0] if isinstance(x, torch.Tensor) and x.ndim else 0
        for layer, batch, moves in modes:
            before = layer.last_forward.calls if layer.last_forward is not None else ()
            rows = next((c[4] / c[3] for c in before if c[0] == layer.record.id and c[3]), 1.0)
            values = int(samples * rows)
            call = (layer.record.id, batch, moves, samples, values, layer.alpha, False, None)
            forward.add(layer, call)
