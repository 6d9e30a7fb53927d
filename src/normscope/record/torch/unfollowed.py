# pyright: basic
"""Batch norms that run past `torch.nn.functional`, as `torch.batch_norm` and compiled TorchScript do: counted once, told, not followed.

The autograd graph of a model's first training forward has a node for each. Watching the functions themselves would cost every
other batch norm a call in every step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from normscope.record.timeline import Forward

MOST = 50_000  # nodes that are looked at


def count(forward: Forward, tensors: list[torch.Tensor]) -> int:
    """Batch norms behind the outputs of `forward` that are none of its recorded calls."""
    root = forward.root
    # Instance norm is computed by the same kernel; a replica's calls are not recorded.
    if root.instances or isinstance(root.module, nn.DataParallel):
        return 0
    others = {x.record.id for x in root.layers if x.record.kind != "batch"}
    recorded = sum(call[0] not in others for call in forward.calls)
    ends = [t.grad_fn for t in tensors if t.grad_fn is not None]
    return max(0, _nodes(ends, root.fed_by) - recorded)


def _nodes(ends: list[Any], fed_by: list[Any]) -> int:
    """Batch norms among the nodes that can be reached from `ends` without passing `fed_by`."""
    open_ = [n for n in ends if n not in fed_by]
    seen, found = {*ends, *fed_by}, 0
    while open_ and len(seen) < MOST:
        node = open_.pop()
        name = node.name()
        found += "BatchNorm" in name and not name.startswith("Sync")
        for before, _ in node.next_functions:
            if before is not None and before not in seen:
                seen.add(before)
                open_.append(before)
    return found
