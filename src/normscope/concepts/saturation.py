"""Saturated activations between layers."""

from __future__ import annotations

from normscope.graph.model import (
    Activation,
    Affine,
    Concat,
    Dropout,
    Graph,
    Multiply,
    Node,
    Norm,
    Pool,
    Shift,
    View,
)
from normscope.probes.observations import Saturation, Signal

SATURATED = 0.8  # share of values
STUCK = 0.5  # share of units
THROUGH = View | Dropout | Pool | Concat | Shift


def saturated(signal: Signal, graph: Graph) -> list[Saturation]:
    """The saturated activations between layers, in the order of the forward pass."""
    return [
        a
        for a in signal.activations
        if a.saturated >= SATURATED or a.stuck >= STUCK
        if (node := node_of(graph, a)) and hidden(graph, node)
    ]


def node_of(graph: Graph, activation: Saturation) -> Node | None:
    """The node behind a measured call: the same function under the same path, counted in order."""
    same = [
        n
        for n in graph
        if n.path == activation.path
        and isinstance(n.op, Activation)
        and n.op.name == activation.function
    ]
    return same[activation.index] if activation.index < len(same) else None


def hidden(graph: Graph, node: Node) -> bool:
    """Whether a linear map or norm reads it, and it is no gate: no factor of a product, unless the tanh that a sigmoid gates."""
    open_, read = [node], False
    seen: set[str] = set()
    while open_:
        for reader in graph.readers(open_.pop()):
            if reader.id in seen:
                continue
            seen.add(reader.id)
            product = isinstance(reader.op, Multiply) and not reader.op.constant
            if product and not _gated(graph, node, reader):
                return False
            read = read or isinstance(reader.op, Affine | Norm)
            if product or isinstance(reader.op, THROUGH):
                open_.append(reader)
    return read


def _gated(graph: Graph, node: Node, product: Node) -> bool:
    """Whether `node` is the tanh of tanh · sigmoid; not in a cell that runs once for each moment, whose memory may well sit at an end."""
    factors = [n for n in graph.inputs(product) if n is not node]
    once = sum(n.path == node.path and n.op == node.op for n in graph) == 1
    return once and _is(node, "tanh") and any(_is(n, "sigmoid") for n in factors)


def _is(node: Node, name: str) -> bool:
    return isinstance(node.op, Activation) and node.op.name == name
