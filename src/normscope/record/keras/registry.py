# pyright: basic
"""Every model and every norm layer seen so far, found without being told."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from keras.src import backend as keras_backend

from normscope.graph.model import Site
from normscope.record.keras.layers import NormLayer, Read
from normscope.record.keras.norms import affine_of, kind_of, norms_in, parents_of
from normscope.record.recording import Layer, Model

# Observers of several frameworks may share a file: the numbers of this one's models, layers, patterns, spans and events
# begin here.
FIRST = 1 << 20


class Root:
    """A layer or model that the script calls from outside any other."""

    def __init__(self, model: Any, record: Model, read: Read) -> None:
        self.ref = weakref.ref(model)
        self.record = record
        self.layers: list[NormLayer] = []
        self.pending: deque[Any] = deque()
        self.open_spans: dict[tuple[str, Any], int] = {}
        self.last_block: Any = None
        self.last_outputs: list[Any] = []  # ids and weak references of the latest output tensors
        self.told_training = True  # whether the script says `training=False` where it evaluates
        self.last_shapes: list[tuple[int, ...]] = []
        self.last_input: Any = None
        self.compiled_told = False
        # Arguments of its first call, without values; empty where they have no shapes.
        self.shapes: tuple[Any, Any] | tuple[()] | None = None
        self._read = read
        self._sample: list[tuple[Any, Any]] = []

    @property
    def model(self) -> Any:
        return self.ref()

    def begin(self) -> None:
        """Remember about eight first values of parameters, to tell whether they moved."""
        model = self.model
        if self._sample or model is None:
            return
        variables = list(model.trainable_variables)
        chosen = variables[:: max(1, len(variables) // 8)]
        self._sample = [(weakref.ref(v), self._read(v).reshape(-1)[:64]) for v in chosen]

    def has_moved(self) -> bool:
        """Whether its parameters are other values than when it was first seen, as far as the sample tells."""
        return any(
            (v := ref()) is not None and not np.array_equal(self._read(v).reshape(-1)[:64], old)
            for ref, old in self._sample
        )

    def holds_values_of(self, other: Root) -> bool:
        """Whether its first values are those that `other`, a model of equal shapes, has now."""
        now = [
            (self._read(v).reshape(-1)[:64], old)
            for (ref, _), (_, old) in zip(other._sample, self._sample, strict=False)
            if (v := ref()) is not None
        ]
        return bool(now) and all(np.array_equal(value, old) for value, old in now)

    def refresh(self, optimized: Mapping[int, float]) -> None:
        model, record = self.model, self.record
        record.alive = model is not None
        for layer in self.layers:
            layer.refresh(optimized)
        if model is None:
            return
        variables = [v for v in model.variables if v.trainable or id(v) in optimized]
        frozen = [v for v in model.weights if _is_parameter(model, v)]
        total = sum(int(np.prod(v.shape)) for v in frozen)
        held = sum(int(np.prod(v.shape)) for v in variables if id(v) in optimized)
        record.parameters = total
        record.norm_layers = len(self.layers)
        record.optimized = record.optimized or held > 0
        record.optimized_share = max(record.optimized_share, held / total if total else 0.0)
        if not record.parameters_changed:
            record.parameters_changed = self.has_moved()
        self._refresh_feeders(model, optimized)

    def _refresh_feeders(self, model: Any, optimized: Mapping[int, float]) -> None:
        """Whether what stands beside a norm layer is frozen, and optimized.

        A functional or sequential model lists its layers side by side: there the layers of weights before and after
        the norm count.
        """
        parents = parents_of(model)
        for layer in self.layers:
            own = layer.layer
            parent = None if own is None else parents.get(id(own))
            if parent is None:
                continue
            beside = [v for child in _near(parent, own) for v in _parameters(child)]
            if beside:
                layer.record.feeders_frozen = not any(v.trainable for v in beside)
                sizes = [int(np.prod(v.shape)) for v in beside]
                held = sum(n for v, n in zip(beside, sizes, strict=True) if id(v) in optimized)
                layer.record.feeders_optimized = held > 0.5 * sum(sizes)


def _near(parent: Any, own: Any) -> list[Any]:
    """The layers with weights next to `own` in its parent; all of them in a layer that is not a list of layers."""
    listed = [x for x in parent._layers if x is own or (x.weights and kind_of(x) is None)]
    if len(listed) < 4:
        return [x for x in listed if x is not own]
    at = next((i for i, x in enumerate(listed) if x is own), 0)
    return [x for x in listed[max(0, at - 1) : at] if x is not own] or listed[at + 1 : at + 2]


def _parameters(layer: Any) -> list[Any]:
    statistics = {id(v) for _, n in norms_in(layer) for v in n.weights}
    return [v for v in layer.weights if id(v) not in statistics]


def _plan(model: Any) -> list[tuple[str, tuple[int, ...]]]:
    """Kinds and shapes of all that has weights, in order."""
    layers = [x for x in model._flatten_layers() if not x._layers and x.weights]
    return [(type(x).__name__, tuple(v.shape)) for x in layers for v in x.weights]


def _is_parameter(model: Any, variable: Any) -> bool:
    """Moving statistics are weights to Keras, but nobody trains them."""
    del model
    return not variable.path.endswith(("moving_mean", "moving_variance", "seed_generator_state"))


class Registry:
    """Every root and every norm layer seen so far."""

    def __init__(self, read: Read) -> None:
        self.roots: list[Root] = []
        self.layers: list[NormLayer] = []
        self._read = read
        self._known: weakref.WeakKeyDictionary[Any, Root | None] = weakref.WeakKeyDictionary()
        self.on_first: list[Callable[[], None]] = []  # told when the first model is found
        self._by_layer: weakref.WeakKeyDictionary[Any, NormLayer] = weakref.WeakKeyDictionary()

    def root_of(self, model: Any) -> Root | None:
        """The root that `model` is; None for one without parameters and norms, such as preprocessing."""
        try:
            return self._known[model]
        except KeyError:
            pass
        found = None
        norms = list(norms_in(model))
        owners = {o.record.id: o for _, n in norms for o in [self._owner(n)] if o is not None}
        if norms and len(owners) == 1 and all(self._owner(n) for _, n in norms):
            # A part of a known model, or the whole that a part was known of.
            [found] = owners.values()
            if len(list(model.weights)) > len(list(getattr(found.model, "weights", ()))):
                found.ref = weakref.ref(model)
                found.record.name = type(model).__name__
        elif not model.built and not norms:
            return self._make(model, keep=False)
        elif norms or model.trainable_variables:
            found = self._make(model)
        self._known[model] = found
        return found

    def traced_root_of(self, layer: Any) -> Root | None:
        """The known root that `layer` is or belongs to; nothing can be read while a step is traced, so none is made."""
        try:
            return self._known[layer]
        except KeyError:
            pass
        norms = [n for _, n in norms_in(layer)]
        known = bool(norms) and all(self._owner(n) is not None for n in norms)
        return self.root_of(layer) if known else None

    def _make(self, model: Any, *, keep: bool = True) -> Root:
        record = Model(id=FIRST + len(self.roots), name=type(model).__name__)
        root = Root(model, record, self._read)
        if keep:
            self.keep(root)
        return root

    def keep(self, root: Root) -> None:
        """Follow a root; of one that was not built before its first call this is decided after it."""
        model = root.model
        if not self.roots:
            for tell in self.on_first:
                tell()
        self.roots.append(root)
        self._known[model] = root
        root.begin()
        for path, norm in norms_in(model):
            self.adopt(root, norm, path)
        self._look_for_original(root)

    def _look_for_original(self, new: Root) -> None:
        """A model of the same layers and shapes as an earlier one is its copy: an average, a teacher, what is served."""
        plan = _plan(new.model)
        for old in self.roots[:-1]:
            if old.model is None or not plan or _plan(old.model) != plan:
                continue
            if new.record.copy_of is None:
                new.record.copy_of = old.record.id
            if old.has_moved() and new.holds_values_of(old):
                new.record.restored_from = old.record.id
                return

    def worth_keeping(self, root: Root) -> bool:
        model = root.model
        return model is not None and bool(
            root.layers or model.trainable_variables or list(norms_in(model))
        )

    def _owner(self, norm: Any) -> Root | None:
        layer = self._by_layer.get(norm)
        if layer is None:
            return None
        return next((r for r in self.roots if r.record.id == layer.record.model), None)

    def known(self, norm: Any) -> NormLayer | None:
        return self._by_layer.get(norm)

    def adopt(self, root: Root, norm: Any, path: str, site: Site | None = None) -> NormLayer:
        """The layer of `norm`, made when it is new. A layer belongs to the root that it was first seen under."""
        layer = self._by_layer.get(norm)
        if layer is None:
            record = Layer(
                id=FIRST + len(self.layers),
                model=root.record.id,
                path=path,
                type=type(norm).__name__,
                kind=kind_of(norm) or "batch",
                site=site,
            )
            layer = NormLayer(record, norm, self._read)
            self._by_layer[norm] = layer
            self.layers.append(layer)
            root.layers.append(layer)
        return layer

    def find(self, root: Root, norm: Any, site: Site | None) -> NormLayer:
        """The layer of a norm that runs inside a call of `root`."""
        layer = self._by_layer.get(norm)
        if layer is None:
            path = next((p for p, n in norms_in(root.model) if n is norm), None)
            layer = self.adopt(root, norm, path or norm.name, site)
            layer.record.registered = path is not None
        if not keras_backend.in_stateless_scope():
            layer.begin_when_built()
        if layer.record.site is None:
            layer.record.site = site
        return layer

    def root_with(self, variables: set[int]) -> list[Root]:
        """The roots that hold some of these variables, by their ids."""
        return [
            r
            for r in self.roots
            if (m := r.model) is not None and any(id(v) in variables for v in m.trainable_variables)
        ]


__all__ = ["FIRST", "Registry", "Root", "affine_of"]
