# pyright: basic
"""From layers and operations to nodes, while a model is called with tensors that have a shape and no values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import keras
from keras.src import backend, tree

from normscope.graph.keras.layers import paths_in
from normscope.graph.keras.lines import users_line
from normscope.graph.keras.values import read
from normscope.graph.model import Input, Node, Op, Opaque, Output

MADE_ANEW = "()"  # ends the name of a layer that was met only while the model ran


class Recorder:
    """The nodes so far, which of them each tensor came from, and which layers run right now, innermost last."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.nodes: dict[str, Node] = {}
        self.facts: dict[str, dict[str, Any]] = {}
        self.ran: set[int] = set()
        self.values_needed: list[str] = []  # layers that could not be followed by shapes alone
        self.concrete = False  # a layer runs on the backend's own tensors
        self.failed = False  # the model itself raised: nothing is tried again
        self.zero_gamma = {id(x): share for _, x in paths_in(model) if (share := zero_share(x))}
        self._paths = {id(layer): path for path, layer in paths_in(model)}
        self._paths[id(model)] = ""
        self._running: list[Any] = []
        self._made: dict[int, str] = {}
        self._kept: list[Any] = []  # an id is a tensor's own only as long as the tensor lives
        self._touched: dict[int, tuple[Any, int, int]] = {}

    # Values

    def value(self, tensor: Any) -> str | None:
        """The node that made the tensor; None for a constant."""
        return self._made.get(id(tensor))

    def bind(self, tensor: Any, node: str | None) -> None:
        if node is not None:
            self._made[id(tensor)] = node
            self._kept.append(tensor)

    def read(self, value: Any) -> list[str]:
        """The nodes behind all tensors in nested arguments, each once."""
        return list(dict.fromkeys(n for t in tree.flatten(value) if (n := self.value(t))))

    # Nodes

    def input(self, tensor: Any) -> None:
        if self.value(tensor) is None:
            self.emit(Input(), (), tensor)

    def output(self, tensor: Any) -> bool:
        """False when nothing is known of where the tensor comes from."""
        made = self.value(tensor)
        self.emit(Output(), [made] if made else [], None, shape=shape_of(tensor))
        return made is not None

    def emit(
        self,
        op: Op,
        inputs: Sequence[str],
        results: Any,
        *,
        shape: tuple[int, ...] | None = None,
        facts: dict[str, Any] | None = None,
    ) -> str:
        """One node. It stands behind each of the result tensors that has none yet."""
        outside = isinstance(op, (Input, Output))
        flat = [t for t in tree.flatten(results) if is_tensor(t)]
        node = Node(
            f"n{len(self.nodes)}",
            op,
            tuple(inputs),
            "" if outside else self.path,
            None if outside else users_line(),
            shape if shape is not None else shape_of(flat[0]) if flat else (),
        )
        self.nodes[node.id] = node
        if facts:
            self.facts[node.id] = facts
        for tensor in flat:
            if self.value(tensor) is None:
                self.bind(tensor, node.id)
        return node.id

    @property
    def path(self) -> str:
        """Of the innermost running layer, below the model. One that the model does not hold is marked."""
        path = ""
        for layer in self._running:
            known = self._paths.get(id(layer))
            path = (
                known
                if known is not None
                else "/".join(filter(None, (path, layer.name + MADE_ANEW)))
            )
        return path

    def mark(self) -> int:
        return len(self.nodes)

    def rewind(self, mark: int) -> None:
        """Forget all nodes since the mark."""
        for node in list(self.nodes)[mark:]:
            del self.nodes[node]
            self.facts.pop(node, None)
        self._made = {t: n for t, n in self._made.items() if n in self.nodes}

    # Layers

    @contextmanager
    def inside(self, layer: Any) -> Iterator[None]:
        self.touch(layer)
        self.ran.add(id(layer))
        self._kept.append(layer)
        self._running.append(layer)
        try:
            yield
        finally:
            self._running.pop()

    def follow(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the layer's own code on shapes; where that cannot be done, on the backend's tensors."""
        with self.inside(layer):
            mark = self.mark()
            try:
                result = layer.call(*args, **kwargs)
                if all(isinstance(t, keras.KerasTensor) for t in tree.flatten(result)):
                    self.failed = False
                    return result
            except Exception:  # the same code with values tells it, if it is an error
                if self.failed:
                    raise
            self.rewind(mark)
            return self.run(layer, args, kwargs, mark)

    def run(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any], mark: int) -> Any:
        """Run the layer's code on tensors of the backend: the layers inside are followed, all else is opaque."""
        symbols = [t for t in tree.flatten((args, kwargs)) if isinstance(t, keras.KerasTensor)]
        made: list[str | None] = []

        def run(*real: Any, **words: Any) -> Any:
            self.rewind(mark)
            tensors = [t for t in tree.flatten((real, words)) if backend.is_tensor(t)]
            for tensor, symbol in zip(tensors, symbols, strict=False):
                self.bind(tensor, self.value(symbol))
            before, self.concrete = self.concrete, True
            try:
                result = layer.call(*real, **words)
            finally:
                self.concrete = before
            made[:] = [self.value(t) for t in tree.flatten(result)]
            self._kept.append(result)
            return result

        try:
            results = backend.compute_output_spec(run, *args, **kwargs)
        except Exception:
            self.failed = True
            raise
        path = self.path
        self.values_needed.append(path or type(layer).__name__)
        reads = self.read(symbols) + [n for n in list(self.nodes)[mark:] if not self._is_read(n)]
        flat = tree.flatten(results)
        for result, node in zip(flat, made, strict=False):
            self.bind(result, node)
        unknown = [t for t in flat if self.value(t) is None]
        if unknown:
            self.emit(Opaque(type(layer).__name__), list(dict.fromkeys(reads)), unknown)
        return results

    def inner(self, call: Any, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A layer called on the backend's tensors: followed by their shapes, then run unobserved."""
        mark = self.mark()

        def symbol(tensor: Any) -> Any:
            if not backend.is_tensor(tensor):
                return tensor
            shadow = keras.KerasTensor(tuple(tensor.shape), backend.standardize_dtype(tensor.dtype))
            known = self.value(tensor)
            if known is None:  # made by code that was not seen, from whatever was there
                known = self.emit(Opaque("unseen"), self._open_ends(), None, shape=shape_of(tensor))
            self.bind(shadow, known)
            return shadow

        self.concrete = False
        try:
            followable: Any = tree.map_structure(symbol, (args, kwargs))
            symbols, words = followable
            try:
                followed = call(layer, *symbols, **words)
            except Exception:  # noqa: BLE001  the call with values, next, is the user's own
                self.rewind(mark)
                followed = None
            results = self.unobserved(partial(call, layer, *args, **kwargs))
        finally:
            self.concrete = True
        if followed is not None:
            for real, shadow in zip(tree.flatten(results), tree.flatten(followed), strict=False):
                self.bind(real, self.value(shadow))
        return results

    def unobserved(self, call: Any) -> Any:
        from normscope.graph.keras import patches

        with patches.paused():
            return call()

    def _is_read(self, node: str) -> bool:
        return any(node in n.inputs for n in self.nodes.values())

    def _open_ends(self) -> list[str]:
        return [n for n in self.nodes if not self._is_read(n)] or list(self.nodes)[:1]

    # What a symbolic call leaves on layers

    def touch(self, operation: Any) -> None:
        if id(operation) not in self._touched:
            sizes = len(operation._inbound_nodes), len(operation._outbound_nodes)
            self._touched[id(operation)] = (operation, *sizes)

    def restore(self) -> None:
        """Take away the nodes that Keras noted on each layer."""
        for operation, inbound, outbound in self._touched.values():
            del operation._inbound_nodes[inbound:]
            del operation._outbound_nodes[outbound:]


def is_tensor(value: Any) -> bool:
    return isinstance(value, keras.KerasTensor) or backend.is_tensor(value)


def shape_of(tensor: Any) -> tuple[int, ...]:
    return tuple(-1 if n is None else int(n) for n in tensor.shape)


def zero_share(layer: Any) -> float:
    """Share of a norm's scales that are exactly 0; 0.0 where there is no scale, or none with a value yet."""
    gamma = next(
        (v for n in ("gamma", "scale") if isinstance(v := getattr(layer, n, None), keras.Variable)),
        None,
    )
    if gamma is None or getattr(gamma, "_value", None) is None or not hasattr(layer, "epsilon"):
        return 0.0
    values = read(gamma)
    return float((values == 0).mean()) if values.size else 0.0
