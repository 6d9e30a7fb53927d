# pyright: basic
"""Every model and every norm layer seen so far, found without being told."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from normscope.graph.model import Site
from normscope.graph.torch import contents
from normscope.record.recording import Layer, Model
from normscope.record.torch.layers import NormLayer
from normscope.record.torch.norms import (
    USUAL,
    Names,
    clean_path,
    holder_of,
    is_lazy,
    kind_of,
    name_of,
    names_of,
    norms_in,
    statistics_of,
    unwrapped,
)
from normscope.record.torch.roots import Root
from normscope.record.torch.stack import site_of_module_call

# Modules that another observer follows: Keras' layers are modules too where PyTorch computes for it.
FOREIGN: list[type[nn.Module]] = []


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
        self._parts: weakref.WeakKeyDictionary[nn.Module, list[_Part]] = weakref.WeakKeyDictionary()
        self._astray: set[Site | None] = set()  # lines that hand over tensors which no module holds
        self._functions: Root | None = None
        self.on_adopted: list[Callable[[Layer, nn.Module], None]] = []  # told of every new layer
        self.on_root: list[Callable[[Root, nn.Module], None]] = []  # of every new model
        self.on_called: list[
            Callable[[Layer], None]
        ] = []  # of every layer that runs for the first time

    def is_no_root(self, module: nn.Module) -> bool:
        """Whether `module` is known to be none, as a loss is."""
        return self._known.get(module, self) is None

    def has_no_values(self, module: nn.Module) -> bool:
        """Whether there is nothing to follow yet: on the meta device, or made in inference mode, never to be trained."""
        if module in self._known:
            return False
        first = next(contents.parameters(module), None)
        return first is not None and not is_lazy(first) and (first.is_meta or first.is_inference())

    def stands_for(self, module: nn.Module, root: Root) -> None:
        """Calls of `module` are calls of a model that is known."""
        self._known[module] = root

    def root_of(self, module: nn.Module) -> Root | None:
        """The root that `module` is; None for one that holds neither parameters nor norm layers, such as a loss."""
        try:
            return self._known[module]
        except KeyError:
            pass
        found = None
        if FOREIGN and isinstance(module, tuple(FOREIGN)):
            self._known[module] = None
            return None
        if isinstance(module, torch.jit.ScriptModule):
            self._known[module] = None  # what compiled TorchScript does inside cannot be seen
            return None
        norms = list(norms_in(module))
        found = self._holder_of(module, norms) or self._grown(module, norms)
        if found is None and (norms or next(contents.parameters(module), None) is not None):
            compiled = type(module).__module__.startswith("torch._dynamo")
            record = Model(id=len(self.roots), name=name_of(module), compiled=compiled)
            found = Root(module, record)
            self.roots.append(found)
            self._begin(found, module, norms)
        self._known[module] = found
        return found

    def _holder_of(
        self, module: nn.Module, norms: list[tuple[str, nn.Module, bool]]
    ) -> Root | None:
        """The known model that `module` is a part of, or a container made for one call around parts of."""
        owners = {id(o): o for _, n, _ in norms for o in [self._owner(n)]}
        if len(owners) != 1 or None in owners.values():
            return None
        [owner] = owners.values()
        own = {id(p) for p in contents.parameters(module)}
        for root in self.roots:
            if own and (held := root.module) is not None:
                own -= {id(p) for p in contents.parameters(held)}
        return None if own else owner

    def _grown(self, module: nn.Module, norms: list[tuple[str, nn.Module, bool]]) -> Root | None:
        """The known model that turns out to be a part of `module`: called alone before any training, as to learn its output's size.

        It goes on as the whole; other parts that were known go on as it.
        """
        inside = {id(m) for m in contents.modules(module)}
        owners = {id(o): o for _, n, _ in norms if (o := self._owner(n)) is not None}
        parts = list(owners.values())
        if not parts or any(
            r.trained or r.module is None or id(r.module) not in inside for r in parts
        ):
            return None
        root, *others = parts
        for other in others:
            root.layers += other.layers
            other.layers, other.record.norm_layers = [], 0
        for known, of in list(self._known.items()):
            if of in others:
                self._known[known] = root
        root.become(module)
        root.record.name, root.record.site = name_of(module), None
        self._begin(root, module, norms)
        return root

    def _begin(
        self, root: Root, module: nn.Module, norms: list[tuple[str, nn.Module, bool]]
    ) -> None:
        """Know the norm layers of a model; those that another one holds as well are the other's until this one trains."""
        known = set(root.layers)
        for path, norm, registered in norms:
            layer = self.adopt(root, norm, path, registered)
            if layer in known:
                layer.record.model, layer.record.path = root.record.id, path
                layer.record.registered = registered
            elif layer.record.model != root.record.id:
                root.layers.append(layer)
                root.shares = True
        self._count(root)
        self._look_for_original(root, module)
        for tell in self.on_root:
            tell(root, module)

    def claim(self, root: Root) -> None:
        """The model trains: what it shares with models that trained before is its own from here on."""
        root.shares = False
        former = {layer.record.model for layer in root.layers}
        module = root.module
        paths = {} if module is None else {n: path for path, n, _ in norms_in(module)}
        for layer in root.layers:
            if layer.module in paths:
                layer.record.model, layer.record.path = root.record.id, paths[layer.module]
        for number in former | {root.record.id}:
            self._count(self.roots[number])

    def _count(self, root: Root) -> None:
        """Each layer counts for one model."""
        root.record.norm_layers = sum(x.record.model == root.record.id for x in root.layers)

    def _owner(self, norm: nn.Module) -> Root | None:
        layer = self._by_module.get(norm)
        return None if layer is None else self.roots[layer.record.model]

    def adopt(
        self,
        root: Root,
        module: nn.Module,
        path: str,
        registered: bool,
        site: Site | None = None,
        names: Names = USUAL,
    ) -> NormLayer:
        """The layer of `module`, made when it is new. A layer belongs to the root that it was first seen under, or that claims it."""
        layer = self._by_module.get(module)
        if (
            layer is None
            and (layer := None if registered else self._place_of(root, module, path, site))
            is not None
        ):
            layer.succeeded_by(module)
            self._by_module[module] = layer
        if layer is None:
            layer = self._by_module[module] = self._new(root, module, path, registered, names)
        return layer

    def _new(
        self, root: Root, module: nn.Module, path: str, registered: bool, names: Names
    ) -> NormLayer:
        record = Layer(
            id=len(self.layers),
            model=root.record.id,
            path=path,
            type=type(module).__name__,
            kind=kind_of(module) or "batch",
            registered=registered,
        )
        layer = NormLayer(record, module, names)
        self._enter(root, layer)
        for tell in self.on_adopted:
            tell(record, module)
        return layer

    def _part_of(self, root: Root, module: nn.Module, names: Names, site: Site | None) -> NormLayer:
        """The layer of a module of the user's own whose tensors have these names: the only one, or one of several.

        Where there are several, each is named after its running mean (or scale); one alone goes by its module.
        """
        parts = self._parts.setdefault(module, [])
        if (known := next((p for p in parts if p.has(names)), None)) is not None:
            known.mean = known.mean or names.mean
            return known.layer
        path, registered = _path_of(root.module, module)
        if not parts:
            layer = self.adopt(root, module, path, registered, site, names)
        elif not registered:
            return parts[0].layer  # made anew in every forward: its parts cannot be followed
        else:
            if len(parts) == 1:
                parts[0].layer.record.path = parts[0].path_below(path)
            layer = self._new(root, module, path, registered, names)
        parts.append(_Part(layer, names.mean, names.scale))
        if len(parts) > 1:
            layer.record.path = parts[-1].path_below(path)
        return layer

    def _place_of(
        self, root: Root, module: nn.Module, path: str, site: Site | None
    ) -> NormLayer | None:
        """The layer that a module built in `forward` replaces: called from the same line, of the same kind and size, and gone."""
        size = getattr(module, "num_features", None)
        for layer in root.layers:
            record = layer.record
            if (
                layer.module is None
                and not record.registered
                and (record.path, record.type, record.site) == (path, type(module).__name__, site)
                and record.channels == size
            ):
                return layer
        return None

    def _enter(self, root: Root, layer: NormLayer) -> None:
        self.layers.append(layer)
        root.layers.append(layer)
        self._count(root)

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

    def find(
        self,
        root: Root,
        key: torch.Tensor | None,
        stored: tuple[torch.Tensor | None, torch.Tensor | None] = (None, None),
        scale: torch.Tensor | None = None,
    ) -> NormLayer | None:
        """The layer that holds `key` (running mean, or else scale), by identity; else by the module that is running.

        None for a replica of a module that data parallelism made for one forward only.
        """
        layer = self._by_tensor.get(id(key)) if key is not None else None
        if layer is not None and _holds(layer, key):
            return layer
        module, site = site_of_module_call(key)
        if module is not None and vars(module).get("_is_replica"):
            return None
        # Compiled code and helper functions pass a layer's tensors from elsewhere.
        layer = self.known(key) if module is None else None
        if module is None and layer is None:
            module = self._holder(root, key, site)
        if module is None:
            return layer or self._functional(root, site)
        if kind_of(module) is None:
            layer = self._part_of(root, module, names_of(module, stored, scale), site)
        else:
            layer = self._by_module.get(module) or self.adopt(
                root, module, *_path_of(root.module, module), site
            )
        if layer.record.site is None:
            layer.record.site = site
            self._called(layer)
        if key is not None:
            self._by_tensor[id(key)] = layer
        return layer

    def _holder(self, root: Root, key: torch.Tensor | None, site: Site | None) -> nn.Module | None:
        """The container inside the model, such as a `ParameterDict`, that holds `key` for the module which makes the call."""
        if key is None or root.module is None or site in self._astray:
            return None
        found = holder_of(root.module, key)
        if found is None:
            self._astray.add(site)  # else every call would search the model
        return None if found is None or kind_of(found) is not None else found

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
        self._called(layer)
        return layer

    def _called(self, layer: NormLayer) -> None:
        for tell in self.on_called:
            tell(layer.record)

    def _look_for_original(self, new: Root, module: nn.Module) -> None:
        """A model of the same class and parameter shapes as an earlier one is its copy: an average, a teacher, a target."""
        if any(is_lazy(p) for p in contents.parameters(module)):
            return
        shapes = [p.shape for p in contents.parameters(module)]
        own = {id(p) for p in contents.parameters(module)}
        for old in self.roots:
            other = old.module
            if old is new or other is None:
                continue
            if not own.isdisjoint(id(p) for p in contents.parameters(other)):
                continue  # a model with another head on the same layers
            if type(unwrapped(other)) is not type(unwrapped(module)):
                continue
            if [p.shape for p in contents.parameters(other) if not is_lazy(p)] != shapes:
                continue
            new.related = old.related = True
            if new.record.copy_of is None:
                new.record.copy_of = old.record.id
            if old.has_moved() and new.holds_values_of(old):
                new.record.restored_from = old.record.id
                return


def _path_of(root: nn.Module | None, module: nn.Module) -> tuple[str, bool]:
    if root is not None:
        for path, norm, registered in norms_in(root):
            if norm is module:
                return path, registered
        for path, child in contents.named_modules(root):
            if child is module:
                return clean_path(path), True
    return type(module).__name__, False


def _holds(layer: NormLayer, key: torch.Tensor | None) -> bool:
    module = layer.module
    if module is None:
        return False
    scale = layer.names.scale
    own = None if scale is None else module._parameters.get(scale)
    return statistics_of(module, layer.names)[0] is key or own is key


@dataclass(eq=False, slots=True)
class _Part:
    """One of the layers whose tensors a module of the user's own holds; None for what it does not hold, or was not handed yet."""

    layer: NormLayer
    mean: str | None
    scale: str | None

    def has(self, names: Names) -> bool:
        """By the running mean; a call without one, and a layer that never had one, by the scale."""
        if self.mean is not None and names.mean is not None:
            return self.mean == names.mean
        return self.scale == names.scale

    def path_below(self, module: str) -> str:
        return f"{module}.{self.mean or self.scale}".strip(".")
