# pyright: basic
"""Norm calls: which layer, in which mode, on how many values. No tensor is read, except once for a layer that is new."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch

from normscope.record.recording import Event
from normscope.record.store import Store
from normscope.record.timeline import Forward
from normscope.record.torch.layers import NormLayer
from normscope.record.torch.norms import is_fresh
from normscope.record.torch.per_call import NONE, PerCall
from normscope.record.torch.registry import Registry
from normscope.record.torch.roots import Root
from normscope.record.torch.stack import user_site

# Where `F.group_norm` and its kin take the scale, behind the input.
SCALE_AT = {"group": 1, "layer": 1, "instance": 2}


class NormCalls:
    """Adds every norm call to the forward that it belongs to.

    `current` is the outermost forward that is running. Norm functions that run outside any module make up forwards of
    a model without a module: `open_stray` and `close_stray` bound them.
    """

    def __init__(
        self, registry: Registry, store: Store, used: Callable[..., None], per_call: PerCall
    ) -> None:
        self.registry = registry
        self.store = store
        self.current: Forward | None = None
        self.stray: Forward | None = None
        self._used = used
        self._per_call = per_call
        self._last: tuple[NormLayer, Forward, bool] | None = None

    def batch_norm(
        self,
        x: torch.Tensor,
        stored: tuple[torch.Tensor | None, torch.Tensor | None],
        weight: torch.Tensor | None,
        training: bool,
        momentum: float,
        eps: float,
        *,
        recomputing: bool,
    ) -> None:
        """Before `F.batch_norm` runs: `x` is (N, C, *), `stored` running mean and variance."""
        mean = stored[0]
        key = mean if mean is not None else weight
        if recomputing:
            layer = self.registry.known(key)
        elif self.current is not None:
            layer = self.registry.find(self.current.root, key, stored, weight)
        else:
            layer = self.registry.find(self.registry.functional_root(), key, stored, weight)
        self._last, self._per_call.updating = None, NONE
        if layer is None:
            return
        record, module = layer.record, layer.module
        if mean is not None and not training:
            self._stored_statistics(layer, stored)
        if not record.channels:
            record.channels, record.eps = x.shape[1], eps
            record.momentum, record.tracks = momentum, mean is not None
            self.store.put("layer", record.id, record)
        updates = bool(training and mean is not None and momentum != 0.0)
        record.updates += updates
        # A cumulative average arrives as 1 / (number of batches). Any other attribute of that name may mean what it likes.
        cumulative = module is not None and getattr(module, "momentum", momentum) is None
        alpha = None if cumulative else momentum
        if updates:
            layer.alpha = alpha
        call = (
            record.id,
            bool(training),
            updates,
            x.shape[0],
            x.numel() // max(1, x.shape[1]),
            alpha,
            recomputing,
            None if weight is None else weight.requires_grad,
        )
        if recomputing:
            if layer.last_forward is not None and layer.last_forward.span is None:
                layer.last_forward.calls.append(call)
            return
        forward = self.current or self.stray
        if forward is not None:
            own = layer.buffers()
            # A layer may hand over copies of its statistics, of another size in each call.
            if updates and (own is None or own[0] is mean):
                self._per_call.before(layer, forward, stored, momentum, x.shape[0])
            forward.add(layer, call)
            self._last = (layer, forward, updates)

    def _stored_statistics(
        self, layer: NormLayer, stored: tuple[torch.Tensor | None, torch.Tensor | None]
    ) -> None:
        """Statistics that come from elsewhere than the module's own buffers are looked at in the call, now and then."""
        mean, var = stored
        own = layer.buffers()
        lent = self.registry.roots[layer.record.model].swapped
        if mean is None or var is None or (own is not None and own[0] is mean and not lent):
            return
        layer.elsewhere += 1
        if layer.elsewhere & (layer.elsewhere - 1) == 0:
            layer.record.fresh_at_end = is_fresh(mean, var)
            self.store.put("layer", layer.record.id, layer.record)

    def refused(self, x: torch.Tensor, step: int, error: ValueError) -> Event | None:
        """Batch norm raised: undo the call, and tell when it was for one value per channel."""
        last, self._last = self._last, None
        if last is None:
            return None
        layer, forward, updated = last
        forward.calls.pop()
        layer.record.updates -= updated
        layer.refused += updated
        if x.ndim < 2 or x.numel() // max(1, x.shape[1]) > 1:
            return None
        return Event(
            kind="single-value",
            step=step,
            layer=layer.record.id,
            model=layer.record.model,
            detail=str(error),
            site=layer.record.site,
        )

    def other_norm(
        self, kind: str, x: torch.Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Group, layer and instance norm: calls of layers that the model was seen to hold."""
        if self.current is None:
            return
        if kind == "instance":
            self.current.root.instances = True
        place = SCALE_AT[kind]
        weight = kwargs.get("weight", args[place] if len(args) > place else None)
        layer = None if weight is None else self.registry.known(weight)
        if weight is not None and layer is not None and layer.record.kind == kind:
            values = values_of(kind, x, args, kwargs)
            samples = x.shape[0] if x.ndim else 0
            call = (
                layer.record.id,
                False,
                False,
                samples,
                values,
                None,
                False,
                weight.requires_grad,
            )
            self.current.add(layer, call)

    def open_stray(self, step: int, activity: int) -> None:
        """Begin a forward for norm functions outside any module, unless one is running since the last backward or step."""
        if self.stray is not None and self.stray.activity == activity:
            return
        root = self.registry.functional_root()
        training = torch.is_grad_enabled()
        self.stray = Forward(root, training, step, activity, user_site(4))
        root.record.site = root.record.site or self.stray.site
        root.pending.append(self.stray)

    def hook_stray(self, out: torch.Tensor) -> None:
        if self.stray is not None and out.grad_fn is not None:
            out.grad_fn.register_prehook(functools.partial(self._used, self.stray))

    def close_stray(self) -> Root | None:
        """End the forward outside any module; its root, if there was one."""
        forward, self.stray = self.stray, None
        return None if forward is None else forward.root


def values_of(kind: str, x: torch.Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """How many values each mean of a norm that ignores the batch is taken over."""
    if kind == "layer":
        return math.prod(args[0] if args else kwargs["normalized_shape"])
    groups = (args[0] if args else kwargs["num_groups"]) if kind == "group" else x.shape[1]
    return x[0].numel() // int(groups) if x.shape[0] else 0
