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


def longest(graph: Graph, chosen: set[str]) -> list[Node]:
    """The chosen nodes along the path that holds most of them, first to last."""
    count: dict[str, int] = {}
    before: dict[str, str] = {}  # the last chosen node before this one, on the best path to it
    best = ""
    for n in graph:  # in execution order: inputs come first
        top = max((i for i in n.inputs if i in count), key=count.__getitem__, default="")
        count[n.id] = count.get(top, 0)
        last = top if top in chosen else before.get(top, "")
        if last:
            before[n.id] = last
        if n.id in chosen:
            count[n.id] += 1
            if not best or count[n.id] > count[best]:
                best = n.id
    path: list[Node] = []
    while best:
        path.append(graph[best])
        best = before.get(best, "")
    return path[::-1]
