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
    """Whether a linear map or norm reads it, and no product with another activation does."""
    open_, read = [node], False
    seen: set[str] = set()
    while open_:
        for reader in graph.readers(open_.pop()):
            if reader.id in seen:
                continue
            seen.add(reader.id)
            if isinstance(reader.op, Multiply) and not reader.op.constant:
                return False
            read = read or isinstance(reader.op, Affine | Norm)
            if isinstance(reader.op, THROUGH):
                open_.append(reader)
    return read
