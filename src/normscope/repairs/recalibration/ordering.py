# pyright: basic
"""Which batch norms feed which: what may be estimated together, and what has to wait."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.graph.model import Graph, Norm
from normscope.graph.torch import Capture
from normscope.probes.replay import set_mode


def groups_of(
    model: nn.Module,
    norms: Mapping[str, _BatchNorm],
    run: Callable[[], Any],
    inputs: tuple[tuple[Any, ...], dict[str, Any]],
) -> list[list[str]]:
    """Layers in execution order; those of one group do not feed each other.

    Told by the graph of one forward pass. Where that is not seen in full, every layer is a group of its own.
    Layers that the pass did not reach come last, together. Inside `untouched`.
    """
    order: dict[str, None] = {}
    handles = [
        norm.register_forward_pre_hook(lambda *_, path=path: order.setdefault(path))
        for path, norm in norms.items()
    ]
    set_mode(model)
    try:
        with Capture(model) as capture:
            capture.inputs(*inputs)
            out = run()
        graph = capture.graph(out)
    finally:
        for handle in handles:
            handle.remove()
    levels = _levels(graph, norms)
    seen = [path for path in norms if path in order]
    if graph.coverage.note or any(path not in levels for path in seen):
        groups = [[path] for path in order]
    else:
        groups = [
            [path for path in order if levels[path] == level]
            for level in sorted({levels[path] for path in seen})
        ]
    unseen = [path for path in norms if path not in order]
    return [*groups, unseen] if unseen else groups


def _levels(graph: Graph, norms: Mapping[str, _BatchNorm]) -> dict[str, int]:
    """For each layer the length of the longest chain of layers that ends in it; over its calls the largest."""
    found: dict[str, int] = {}
    above: dict[
        str, int
    ] = {}  # of a node: the longest chain of layers that ends in it or before it
    for node in graph:  # in execution order: inputs come first
        depth = max((above.get(i, 0) for i in node.inputs), default=0)
        if isinstance(node.op, Norm) and node.path in norms:
            # A layer that is called again waits for whatever stands between its calls.
            depth += 1
            found[node.path] = max(found.get(node.path, 0), depth)
        above[node.id] = depth
    return found
