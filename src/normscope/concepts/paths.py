"""Ways through a graph, and ways around a node."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from normscope.graph.model import Graph, Node, Output


def bypassed(graph: Graph, norm: Node, zero: set[str]) -> bool:
    """Whether what feeds `norm` also reaches one of its outputs without passing a norm in `zero`."""
    feeders = flood([norm], graph.inputs) - {norm.id}
    around = flood(
        (graph[i] for i in feeders - zero),
        lambda n: [r for r in graph.readers(n) if r.id not in zero],
    )
    ends = flood([norm], graph.readers)
    outputs = {i for i in ends if isinstance(graph[i].op, Output)}
    if not outputs and any(isinstance(n.op, Output) for n in graph):
        return True  # nothing that the model returns depends on it
    return bool(around & (outputs or {i for i in ends if not graph.readers(graph[i])}))


def flood(start: Iterable[Node], neighbours: Callable[[Node], list[Node]]) -> set[str]:
    """The nodes that can be reached, the start included."""
    reached: set[str] = set()
    open_ = list(start)
    while open_:
        node = open_.pop()
        if node.id not in reached:
            reached.add(node.id)
            open_ += neighbours(node)
    return reached
