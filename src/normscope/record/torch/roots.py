# pyright: basic
"""The models that a script calls: what is followed of each."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from normscope.graph.torch import contents
from normscope.record.recording import Model
from normscope.record.timeline import Forward
from normscope.record.torch.given import Given
from normscope.record.torch.layers import NormLayer
from normscope.record.torch.norms import affine_of, is_lazy, statistics_in


class Root:
    """A module that the script calls from outside any other."""

    def __init__(self, module: nn.Module | None, record: Model) -> None:
        self.record = record
        self.layers: list[NormLayer] = []  # that its module holds; it may share some with others
        self.shares = False  # some of them are another's, until it trains
        self.pending: deque[Any] = deque()
        self.open_spans: dict[tuple[str, Any], int] = {}
        self.last_block: Any = None
        self.given = {True: Given(), False: Given()}  # by whether gradients were on
        self.same_data: list[bool] = []  # whether forwards of one step got equal data
        self.searched = False  # for batch norms that are not followed
        self.fed_by: list[
            Any
        ] = []  # autograd nodes of the inputs, until then: what lies behind is no part of it
        self.instances = False  # it runs instance norms
        self.related = False  # there is a copy of it, or it is one
        self.several = False  # several training forwards a step were seen
        self.swapped = (
            False  # runs with parameters that are not its own (torch.func.functional_call)
        )
        self.recent: list[Any] = []  # weak references to the storages of the latest outputs
        self.output_shape: torch.Size | None = None  # of the latest first output
        self.last_outputs: list[Any] = []  # weak references to the latest output tensors
        self.last_activity = -1
        self.last_kind = ""
        self.captured = False
        self._line: Any = None  # of the latest step's first training forward
        self._at = (-1, -1)  # step and activity of the latest one from that line
        self._place = 0  # of the latest micro-batch in its step
        self._turn = 0  # the place whose micro-batch is kept
        self.watched: Any = None  # a sample of parameters, to see updates that no optimizer made
        self._lent: Any = None
        self._loans = 0
        self.ref: Callable[[], nn.Module | None] = lambda: None
        # Where a layer of the user's own may keep running statistics: its path, and their names.
        self.own: list[tuple[str, tuple[str, ...]]] = []
        self.sample: list[tuple[Any, torch.Tensor]] = []
        self.bytes = 0
        self._anchor: tuple[Any, str] | None = None
        if module is not None:
            self.become(module)

    def become(self, module: nn.Module) -> None:
        """Follow `module`: at first, and where the one followed so far turns out to be a part of it."""
        self.ref = weakref.ref(module)
        self.own = [(p, names) for p, _, names in statistics_in(module)]
        self.sample, self.bytes = _sample(module), _bytes(module)
        self._anchor, self._lent, self._loans = _anchor(module), None, 0
        self.captured = False

    @property
    def module(self) -> nn.Module | None:
        return self.ref()

    @property
    def trained(self) -> bool:
        """Whether a backward pass used one of its forwards."""
        return any(kind == "training" for kind, _ in self.open_spans) or any(
            forward.used for forward in self.pending
        )

    def is_turn(self, forward: Forward) -> bool:
        """Whether the input of this forward, of those in its step, is the one to keep.

        Where gradients of several backwards from one line are accumulated, the kept micro-batches are the first of one step, the
        second of the next, and so on: each is normalized by itself, and the first ones may all be of one kind.
        """
        step, activity = self._at
        if forward.step != step:
            self._turn = (self._turn + 1) % (self._place + 1)
            self._line, self._place = forward.site, 0
        elif forward.site != self._line:
            return self._turn == 0
        elif forward.activity != activity:
            self._place += 1
        self._at = forward.step, forward.activity
        return self._place == self._turn

    def note_loan(self) -> bool:
        """Before a forward: is a tensor lent to the module in place of its first parameter, another than last time?

        `torch.func.functional_call` lends parameters and buffers for one call. A tensor that was there during two forwards and
        gone after each was lent; then the module's own state tells nothing.
        """
        owner = None if self._anchor is None else self._anchor[0]()
        if self._anchor is None or owner is None:
            return False
        self.end_loan()
        here = owner._parameters.get(self._anchor[1])
        before, self._lent = (
            self._lent,
            None if here is None else (weakref.ref(here), here._version),
        )
        return (
            self.swapped
            and before is not None
            and (before[0]() is not here or before[1] != self._lent[1])
        )

    def end_loan(self) -> None:
        """Later: was what stood there during the forward taken back?"""
        owner = None if self._anchor is None else self._anchor[0]()
        if self._anchor is not None and owner is not None and self._lent is not None:
            gone = owner._parameters.get(self._anchor[1]) is not self._lent[0]()
            self._loans = self._loans + 1 if gone else 0
            self.swapped = self.swapped or self._loans >= 2

    def has_moved(self) -> bool:
        """Whether its parameters are other values than when it was first seen, as far as the sample tells."""
        return any(
            (p := ref()) is not None
            and not torch.equal(p.detach().flatten()[:64].to(old.device), old)
            for ref, old in self.sample
        )

    def holds_values_of(self, other: Root) -> bool:
        """Whether its first values are those that `other`, a model of equal shapes, has now."""
        now = [
            (p, old)
            for (ref, _), (_, old) in zip(other.sample, self.sample, strict=True)
            if (p := ref()) is not None
        ]
        return bool(now) and all(
            torch.equal(p.detach().flatten()[:64].to(old.device), old) for p, old in now
        )

    def refresh(self, optimized: Mapping[int, float]) -> None:
        for layer in self.layers:
            layer.refresh(optimized, own=not self.swapped)
        module = self.module
        self.record.alive = module is not None
        if module is None:
            return
        parameters = [p for p in contents.parameters(module) if not is_lazy(p)]
        held = sum(p.numel() for p in parameters if id(p) in optimized)
        total = sum(p.numel() for p in parameters)
        self.record.parameters = total
        self.record.optimized = self.record.optimized or held > 0
        self.record.optimized_share = max(
            self.record.optimized_share, held / total if total else 0.0
        )
        if not self.record.parameters_changed:
            self.record.parameters_changed = self.has_moved()
        self._refresh_feeders(module, optimized)

    def _refresh_feeders(self, module: nn.Module, optimized: Mapping[int, float]) -> None:
        """Whether the parameters beside a norm layer, in its parent module, are without gradient, and in an optimizer."""
        parents = {
            id(child): parent
            for parent in contents.modules(module)
            for child in contents.children(parent)
        }
        for layer in self.layers:
            own = layer.module
            parent = None if own is None else parents.get(id(own))
            beside = (
                []
                if parent is None
                else [
                    p
                    for p in contents.parameters(parent)
                    if p not in set(affine_of(own, layer.names))
                ]
            )
            if beside:
                layer.record.feeders_frozen = not any(p.requires_grad for p in beside)
                sizes = [0 if is_lazy(p) else p.numel() for p in beside]
                held = sum(n for p, n in zip(beside, sizes, strict=True) if id(p) in optimized)
                layer.record.feeders_optimized = held > 0.5 * sum(sizes)


def _bytes(module: nn.Module) -> int:
    held = (*contents.parameters(module), *contents.buffers(module))
    return sum(t.numel() * t.element_size() for t in held if not is_lazy(t))


def _anchor(module: nn.Module) -> tuple[Any, str] | None:
    """Weak reference to the owner of the first parameter, and its name there."""
    for owner in contents.modules(module):
        for name, value in owner._parameters.items():
            if value is not None:
                return weakref.ref(owner), name
    return None


def _sample(module: nn.Module) -> list[tuple[Any, torch.Tensor]]:
    """Weak references to about eight parameters spread over the model, and what their first values were."""
    parameters = [p for p in contents.parameters(module) if not is_lazy(p)]
    chosen = parameters[:: max(1, len(parameters) // 8)]
    return [(weakref.ref(p), p.detach().flatten()[:64].clone()) for p in chosen]
