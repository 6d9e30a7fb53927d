# pyright: basic
"""The models that a script calls, and the norm layers in them, found without being told."""

from __future__ import annotations

import weakref
from collections import deque
from typing import Any

import torch
from torch import nn

from normscope.graph.model import Site
from normscope.record.recording import Layer, Model
from normscope.record.torch.norms import (
    affine_of,
    batches_tracked,
    clean_path,
    describe,
    is_fresh,
    is_lazy,
    kind_of,
    name_of,
    norms_in,
    zero_share,
)
from normscope.record.torch.stack import site_of_module_call


class NormLayer:
    """A norm layer as the observer holds it: the recorded facts, and the live module by weak reference."""

    __slots__ = (
        "_module",
        "counter_at_start",
        "elsewhere",
        "last_forward",
        "record",
        "refused",
        "start",
    )

    def __init__(self, record: Layer, module: nn.Module | None) -> None:
        self.record = record
        self._module = None if module is None else weakref.ref(module)
        self.start: list[torch.Tensor] = []  # scale and shift when first seen
        self.last_forward: Any = None
        self.refused = 0
        self.elsewhere = 0  # calls with running statistics that are not the module's own buffers
        self.counter_at_start = batches_tracked(module)
        if module is not None:
            describe(record, module)
            self.start = [p.detach().clone() for p in affine_of(module)]

    @property
    def module(self) -> nn.Module | None:
        return self._module() if self._module is not None else None

    def buffers(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Running mean and variance as they are now: they may have been moved or replaced since."""
        module = self.module
        if module is None:
            return None
        mean, var = module._buffers.get("running_mean"), module._buffers.get("running_var")
        return None if mean is None or var is None else (mean, var)

    def refresh(self, optimized: set[int], *, own: bool) -> None:
        """Bring the facts that change during a run up to date; not `own`: the module runs with lent tensors."""
        module, record = self.module, self.record
        if not own and record.fresh_at_end:
            record.updates = (
                0  # what training moved were other tensors than those that evaluation reads
            )
        if module is None or not own:
            return
        affine = affine_of(module)
        if affine and not self.start:
            describe(record, module)  # a lazy layer has its parameters only now
            self.start = [p.detach().clone() for p in affine]
        if affine:
            record.trainable = any(p.requires_grad for p in affine)
            record.optimized = any(id(p) in optimized for p in affine)
            record.zero_gamma_at_end = zero_share(affine[0])
            if not record.parameters_changed:
                record.parameters_changed = any(
                    a.shape != b.shape or not torch.equal(a.detach().to(b.device), b)
                    for a, b in zip(affine, self.start, strict=False)
                )
        record.momentum = getattr(module, "momentum", record.momentum)
        if (stored := self.buffers()) is not None:
            record.fresh_at_end = is_fresh(*stored)
        # PyTorch counts a batch before it refuses it for having one value per channel.
        moved = batches_tracked(module) - self.counter_at_start - self.refused
        record.updates = max(record.updates, moved)


class Root:
    """A module that the script calls from outside any other."""

    def __init__(self, module: nn.Module | None, record: Model) -> None:
        self.ref = (lambda: None) if module is None else weakref.ref(module)
        self.record = record
        self.layers: list[NormLayer] = []
        self.pending: deque[Any] = deque()
        self.open_spans: dict[tuple[str, Any], int] = {}
        self.last_block: Any = None
        self.last_input: dict[bool, Any] = {}  # by whether gradients were on
        self.same_data: list[bool] = []  # whether forwards of one step got equal data
        self.several = False  # several training forwards a step were seen
        self.swapped = (
            False  # runs with parameters that are not its own (torch.func.functional_call)
        )
        self.recent: list[Any] = []  # weak references to the storages of the latest outputs
        self.output_shape: torch.Size | None = None  # of one sample
        self.last_outputs: list[Any] = []  # weak references to the latest output tensors
        self.last_activity = -1
        self.last_kind = ""
        self.captured = False
        self.watched: Any = None  # a sample of parameters, to see updates that no optimizer made
        self.sample = [] if module is None else _sample(module)
        self.bytes = 0 if module is None else _bytes(module)
        self._anchor = None if module is None else _anchor(module)
        self._lent: Any = None
        self._loans = 0

    @property
    def module(self) -> nn.Module | None:
        return self.ref()

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

    def refresh(self, optimized: set[int]) -> None:
        for layer in self.layers:
            layer.refresh(optimized, own=not self.swapped)
        module = self.module
        self.record.alive = module is not None
        if module is None:
            return
        parameters = [p for p in module.parameters() if not is_lazy(p)]
        held = sum(p.numel() for p in parameters if id(p) in optimized)
        total = sum(p.numel() for p in parameters)
        self.record.parameters = total
        self.record.optimized = self.record.optimized or held > 0
        self.record.optimized_share = max(
            self.record.optimized_share, held / total if total else 0.0
        )
        if not self.record.parameters_changed:
            self.record.parameters_changed = any(
                (p := ref()) is not None
                and not torch.equal(p.detach().flatten()[:64].to(old.device), old)
                for ref, old in self.sample
            )
        self._refresh_feeders(module)

    def _refresh_feeders(self, module: nn.Module) -> None:
        """Whether every parameter beside a norm layer, in its parent module, stayed without gradient and optimizer."""
        parents = {id(child): parent for parent in module.modules() for child in parent.children()}
        for layer in self.layers:
            own = layer.module
            parent = None if own is None else parents.get(id(own))
            beside = (
                []
                if parent is None
                else [p for p in parent.parameters() if p not in set(affine_of(own))]
            )
            if beside:
                layer.record.feeders_frozen = not any(p.requires_grad for p in beside)


class Registry:
    """Every root and every norm layer seen so far."""

    def __init__(self) -> None:
        self.roots: list[Root] = []
        self.layers: list[NormLayer] = []
        self._known: weakref.WeakKeyDictionary[nn.Module, Root | None] = weakref.WeakKeyDictionary()
        self._by_module: weakref.WeakKeyDictionary[nn.Module, NormLayer] = (
            weakref.WeakKeyDictionary()
        )
        self._by_tensor: dict[int, NormLayer] = {}
        self._functions: Root | None = None

    def is_no_root(self, module: nn.Module) -> bool:
        """Whether `module` is known to be none, as a loss is."""
        return self._known.get(module, self) is None

    def root_of(self, module: nn.Module) -> Root | None:
        """The root that `module` is; None for one that holds neither parameters nor norm layers, such as a loss."""
        try:
            return self._known[module]
        except KeyError:
            pass
        found = None
        if isinstance(module, torch.jit.ScriptModule):
            self._known[module] = None  # what compiled TorchScript does inside cannot be seen
            return None
        norms = list(norms_in(module))
        owners = {id(o): o for _, n, _ in norms for o in [self._owner(n)]}
        if len(owners) == 1 and None not in owners.values():
            # A part of a known model, or a container made for one call around parts of it.
            found = next(iter(owners.values()))
        elif norms or next(module.parameters(), None) is not None:
            compiled = type(module).__module__.startswith("torch._dynamo")
            record = Model(id=len(self.roots), name=name_of(module), compiled=compiled)
            found = Root(module, record)
            self.roots.append(found)
            for path, norm, registered in norms:
                self.adopt(found, norm, path, registered)
            self._look_for_original(found, module)
        self._known[module] = found
        return found

    def _owner(self, norm: nn.Module) -> Root | None:
        layer = self._by_module.get(norm)
        return None if layer is None else self.roots[layer.record.model]

    def adopt(self, root: Root, module: nn.Module, path: str, registered: bool) -> NormLayer:
        """The layer of `module`, made when it is new. A layer belongs to the root that it was first seen under."""
        layer = self._by_module.get(module)
        if layer is None:
            record = Layer(
                id=len(self.layers),
                model=root.record.id,
                path=path,
                type=type(module).__name__,
                kind=kind_of(module) or "batch",
                registered=registered,
            )
            layer = NormLayer(record, module)
            self._by_module[module] = layer
            self._enter(root, layer)
        return layer

    def _enter(self, root: Root, layer: NormLayer) -> None:
        self.layers.append(layer)
        root.layers.append(layer)
        root.record.norm_layers = len(root.layers)

    def functional_root(self) -> Root:
        """The model that norm functions called outside any module belong to."""
        if self._functions is None:
            self._functions = Root(None, Model(id=len(self.roots), name="functions"))
            self.roots.append(self._functions)
        return self._functions

    def own_layers(self) -> list[NormLayer]:
        """The layers of models that run with their own tensors."""
        lent = {r.record.id for r in self.roots if r.swapped}
        return [x for x in self.layers if x.record.model not in lent] if lent else self.layers

    def known(self, weight: torch.Tensor | None) -> NormLayer | None:
        """The layer whose scale `weight` is, if its model was seen to hold it."""
        if weight is None:
            return None
        layer = self._by_tensor.get(id(weight))
        if layer is None or not _holds(layer, weight):
            layer = next((x for x in self.layers if _holds(x, weight)), None)
            if layer is not None:
                self._by_tensor[id(weight)] = layer
        return layer

    def find(self, root: Root, key: torch.Tensor | None) -> NormLayer | None:
        """The layer that holds `key` (running mean, or else scale), by identity; else by the module that is running.

        None for a replica of a module that data parallelism made for one forward only.
        """
        layer = self._by_tensor.get(id(key)) if key is not None else None
        if layer is not None and _holds(layer, key):
            return layer
        module, site = site_of_module_call(key)
        if module is None:
            # Compiled code and helper functions pass a layer's tensors from elsewhere.
            layer = self.known(key) or self._functional(root, site)
        elif getattr(module, "_is_replica", False):
            return None
        else:
            layer = self._by_module.get(module) or self.adopt(
                root, module, *_path_of(root.module, module)
            )
            layer.record.site = layer.record.site or site
        if key is not None and module is not None:
            self._by_tensor[id(key)] = layer
        return layer

    def _functional(self, root: Root, site: Site | None) -> NormLayer:
        """A functional call without a module of its own is known by the line that makes it."""
        for layer in root.layers:
            if (
                layer.module is None
                and layer.record.type == "batch_norm"
                and layer.record.site == site
            ):
                return layer
        record = Layer(
            id=len(self.layers),
            model=root.record.id,
            path="",
            type="batch_norm",
            site=site,
            registered=False,
        )
        layer = NormLayer(record, None)
        self._enter(root, layer)
        return layer

    def _look_for_original(self, new: Root, module: nn.Module) -> None:
        """A model of the same class and parameter shapes as an earlier one is its copy: an average, a teacher, a target."""
        if any(is_lazy(p) for p in module.parameters()):
            return
        shapes = [p.shape for p in module.parameters()]
        for old in self.roots[:-1]:
            other = old.module
            if other is None or type(other) is not type(module):
                continue
            if [p.shape for p in other.parameters() if not is_lazy(p)] == shapes:
                new.record.copy_of = old.record.id
                return


def _bytes(module: nn.Module) -> int:
    held = (*module.parameters(), *module.buffers())
    return sum(t.numel() * t.element_size() for t in held if not is_lazy(t))


def _anchor(module: nn.Module) -> tuple[Any, str] | None:
    """Weak reference to the owner of the first parameter, and its name there."""
    for owner in module.modules():
        for name, value in owner._parameters.items():
            if value is not None:
                return weakref.ref(owner), name
    return None


def _sample(module: nn.Module) -> list[tuple[Any, torch.Tensor]]:
    """Weak references to about eight parameters spread over the model, and what their first values were."""
    parameters = [p for p in module.parameters() if not is_lazy(p)]
    chosen = parameters[:: max(1, len(parameters) // 8)]
    return [(weakref.ref(p), p.detach().flatten()[:64].clone()) for p in chosen]


def _path_of(root: nn.Module | None, module: nn.Module) -> tuple[str, bool]:
    if root is not None:
        for path, norm, registered in norms_in(root):
            if norm is module:
                return path, registered
        for path, child in root.named_modules():
            if child is module:
                return clean_path(path), True
    return type(module).__name__, False


def _holds(layer: NormLayer, key: torch.Tensor | None) -> bool:
    module = layer.module
    return module is not None and (
        module._buffers.get("running_mean") is key or module._parameters.get("weight") is key
    )
