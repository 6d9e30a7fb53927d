# pyright: basic
"""Which batch norms a model uses otherwise than by calling them: through a function, or a bound method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from normscope.graph.model import Graph, Norm
from normscope.record.torch.norms import kind_of, norms_in
from normscope.repairs.neighbours import captured

REASON = "it is not called as a layer, and a batch norm was computed by a function: another layer in its place would do nothing"


def uncalled(
    model: nn.Module, graph: Graph, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[nn.Module, str]:
    """The norm layers that the forward pass did not call though it normalized more often than layers were called, with the reason.

    Layers that are skipped on the way (an auxiliary head in evaluation) are none of them.
    """
    norms = [m for _, m, _ in norms_in(model) if kind_of(m) == "batch"]
    calls: list[nn.Module] = []
    handles = [n.register_forward_pre_hook(lambda m, _: calls.append(m)) for n in norms]
    try:
        captured(model, args, kwargs, training=False)
    finally:
        for handle in handles:
            handle.remove()
    computed = sum(isinstance(n.op, Norm) and n.op.kind == "batch" for n in graph)
    if computed <= len(calls):
        return {}
    return {n: REASON for n in norms if n not in set(calls)}
