"""Batch norms that no module's children lead to."""

from __future__ import annotations

from normscope.evidence import Facts
from normscope.graph.model import Graph
from normscope.record.recording import Layer

MADE_ANEW = "()"  # ends the graph's name of a module that was met only while it ran


def hidden_in(graph: Graph, facts: Facts) -> set[str]:
    """Paths of batch norm modules that no module's children lead to."""
    listed = {x.path for x in facts.layers if hidden(x)}
    return listed | {n.path for n, _ in graph.norms() if made_anew(n.path)}


def made_anew(path: str) -> bool:
    """Whether the graph met the module only while the model ran."""
    return MADE_ANEW in path.rpartition(".")[2]


def hidden(layer: Layer) -> bool:
    """Whether it is a batch norm module that `modules()` does not lead to; a functional call has no module."""
    return layer.kind == "batch" and not layer.registered and layer.type != "batch_norm"
