"""One node for what the user wrote as one operation: a bias added to a map, a scale multiplied onto a bare norm."""

from __future__ import annotations

from typing import Any

import msgspec

from normscope.graph.model import Affine, Cast, Node, Shift, View

Facts = dict[str, dict[str, Any]]


def fold(nodes: dict[str, Node], facts: Facts) -> list[Node]:
    """The nodes in order, with biases taken in, and without casts and views that nobody reads."""
    folded = dict(nodes)
    for node in nodes.values():
        if isinstance(node.op, Affine) and not node.op.bias:
            _later_bias(folded, node, facts)
    for node in reversed(nodes.values()):
        if isinstance(node.op, Cast | View) and node.id in folded and not _readers(folded, node.id):
            del folded[node.id]
    return list(folded.values())


def _readers(nodes: dict[str, Node], node: str) -> list[Node]:
    return [n for n in nodes.values() if node in n.inputs]


def _later_bias(nodes: dict[str, Node], affine: Node, facts: Facts) -> None:
    readers = _readers(nodes, affine.id)
    if (
        len(readers) != 1
        or not isinstance(readers[0].op, Shift)
        or not isinstance(affine.op, Affine)
    ):
        return
    [shift] = readers
    told = facts.get(shift.id, {})
    if told.get("weight") and _runs_along(told["constant"], affine.shape, affine.op.axis):
        size = affine.shape[affine.op.axis]
        nodes[affine.id] = msgspec.structs.replace(
            affine, op=msgspec.structs.replace(affine.op, bias=size), shape=shift.shape
        )
        for reader in _readers(nodes, shift.id):
            inputs = tuple(affine.id if i == shift.id else i for i in reader.inputs)
            nodes[reader.id] = msgspec.structs.replace(reader, inputs=inputs)
        del nodes[shift.id]


def _runs_along(constant: tuple[int, ...], shape: tuple[int, ...], axis: int) -> bool:
    """A constant that differs along `axis` only, once broadcast to `shape`."""
    if not constant or len(constant) > len(shape):
        return False
    aligned = (1,) * (len(shape) - len(constant)) + constant
    return all(n == (shape[d] if d == axis else 1) for d, n in enumerate(aligned))
