"""The framework-neutral graph that every rule reads. Imports no framework."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

NormKind = Literal["batch", "instance", "group", "layer", "rms"]


class Site(msgspec.Struct, frozen=True):
    """Where the user wrote it."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Input(msgspec.Struct, frozen=True, tag=True):
    """A tensor that enters the model from outside."""


class Affine(msgspec.Struct, frozen=True, tag=True):
    """`y = W x + b`: convolutions (transposed ones too) and linear layers."""

    kind: Literal["conv", "linear"]
    bias: int = 0  # number of bias parameters, 0 when there is none
    axis: int = 1  # the output dimension that the bias runs along


class Norm(msgspec.Struct, frozen=True, tag=True):
    """Any operation that rescales by statistics of its input."""

    kind: NormKind
    channels: int | None = None
    groups: int | None = None  # group norm only
    eps: float = 1e-5
    momentum: float | None = (
        0.1  # PyTorch's sense: the weight of the new batch; None: cumulative average
    )
    axis: int = 1  # the channel dimension
    batch_stats: bool = True  # False: normalizes with stored statistics
    tracks: bool = True  # keeps running statistics
    affine: bool = True
    zero_gamma: float = 0.0  # share of channels whose scale is exactly 0
    values: int | None = None  # values that each mean is taken over, in the captured call


class Activation(msgspec.Struct, frozen=True, tag=True):
    """An element-wise nonlinearity. `name` is the lower-case ATen name: `relu`, `gelu`, `sigmoid`…"""

    name: str


class Dropout(msgspec.Struct, frozen=True, tag=True):
    """Random zeros, scaled to keep the mean."""

    rate: float
    active: bool = True  # False in eval mode


class Add(msgspec.Struct, frozen=True, tag=True):
    """The sum (or difference) of two or more tensors: where skip connections end."""


class Multiply(msgspec.Struct, frozen=True, tag=True):
    """A product of tensors: gates, attention weights, layer scale. `constant`: the other factor is no activation."""

    constant: bool = False


class Shift(msgspec.Struct, frozen=True, tag=True):
    """The sum of an activation and something constant over the samples (a parameter, a number)."""


class Pool(msgspec.Struct, frozen=True, tag=True):
    """Average or maximum over positions."""

    kind: Literal["avg", "max"]
    over_all: bool = False  # one value per channel remains


class Concat(msgspec.Struct, frozen=True, tag=True):
    """Tensors joined along `axis`."""

    axis: int = 1


class Cast(msgspec.Struct, frozen=True, tag=True):
    """The same values in another dtype, device or memory layout."""

    dtype: str = ""


class View(msgspec.Struct, frozen=True, tag=True):
    """The same values under another shape.

    `sources[i]` lists the input dimensions that output dimension `i` is made of, most significant first.
    A slice or an expansion keeps its dimension's number.
    """

    sources: tuple[tuple[int, ...], ...] = ()


class Output(msgspec.Struct, frozen=True, tag=True):
    """What the model returns; one node per returned tensor."""


class Opaque(msgspec.Struct, frozen=True, tag=True):
    """An operation that is not modelled. It could be anything: no rule may assume about it."""

    name: str


Op = (
    Input
    | Affine
    | Norm
    | Activation
    | Dropout
    | Add
    | Multiply
    | Shift
    | Pool
    | Concat
    | Cast
    | View
    | Output
    | Opaque
)


class Node(msgspec.Struct, frozen=True):
    """One operation, the values it reads, and the user's name for it."""

    id: str
    op: Op
    inputs: tuple[str, ...] = ()
    path: str = ""  # module path below the root, "" when the root itself called the operation
    site: Site | None = None
    shape: tuple[int, ...] = ()  # of the result
    weights: str = (
        ""  # of an affine map: the path of the parameter that it applies, where it is one
    )


class Coverage(msgspec.Struct, frozen=True):
    """What the capture did not see or did not understand."""

    opaque: tuple[str, ...] = ()  # operation names, most frequent first
    uncalled: tuple[
        str, ...
    ] = ()  # paths of modules with parameters that the forward pass never called
    note: str = ""


class Graph:
    """Nodes in execution order, with producer and reader lookup.

    `model` is the recording's id of the model that was captured; `mode` tells how it was run.
    """

    def __init__(
        self,
        nodes: Iterable[Node],
        *,
        model: int = 0,
        training: bool = True,
        coverage: Coverage = Coverage(),
    ) -> None:
        self.model = model
        self.training = training
        self.coverage = coverage
        self._nodes = {n.id: n for n in nodes}
        self._readers: dict[str, list[Node]] = {}
        self._calls: dict[str, list[Node]] = {}
        for n in self._nodes.values():
            for i in dict.fromkeys(n.inputs):
                self._readers.setdefault(i, []).append(n)
            self._calls.setdefault(n.path, []).append(n)

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes.values())

    def __len__(self) -> int:
        return len(self._nodes)

    def __getitem__(self, node_id: str) -> Node:
        return self._nodes[node_id]

    def norms(self) -> Iterator[tuple[Node, Norm]]:
        """Every normalization with its typed operation."""
        for n in self:
            if isinstance(n.op, Norm):
                yield n, n.op

    def inputs(self, node: Node) -> list[Node]:
        """The producers of what `node` reads, in order; values from outside the graph are left out."""
        return [self._nodes[i] for i in node.inputs if i in self._nodes]

    def producer(self, node: Node) -> Node | None:
        """The single producer of what `node` reads, seen through casts; None when there are several or none."""
        while True:
            match self.inputs(node):
                case [Node(op=Cast()) as cast]:
                    node = cast
                case [only]:
                    return only
                case _:
                    return None

    def readers(self, node: Node) -> list[Node]:
        """Who reads `node`'s result, seen through casts."""
        found: list[Node] = []
        for reader in self._readers.get(node.id, []):
            found.extend(self.readers(reader) if isinstance(reader.op, Cast) else [reader])
        return found

    def at(self, path: str) -> list[Node]:
        """Every node under exactly this module path, in order."""
        return list(self._calls.get(path, ()))

    def calls(self, node: Node) -> list[Node]:
        """Every node of the same kind under the same module path: more than one when a module is shared."""
        return [n for n in self.at(node.path) if type(n.op) is type(node.op)]


class _Stored(msgspec.Struct):
    model: int
    training: bool
    coverage: Coverage
    nodes: list[Node]


def dumps(graph: Graph) -> bytes:
    """The graph as JSON bytes, as the store keeps it."""
    return msgspec.json.encode(_Stored(graph.model, graph.training, graph.coverage, list(graph)))


def loads(data: bytes) -> Graph:
    """The inverse of `dumps`."""
    s = msgspec.json.decode(data, type=_Stored)
    return Graph(s.nodes, model=s.model, training=s.training, coverage=s.coverage)
