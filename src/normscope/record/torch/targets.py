# pyright: basic
"""Which loss a model's output met, and against which target: seen when the loss function is called."""

from __future__ import annotations

from typing import Any

import torch

from normscope.record.torch.batches import Kept
from normscope.record.torch.forwards import Forward
from normscope.record.torch.roles import PLAIN
from normscope.record.torch.roots import Root

REDUCTIONS = ("reduction", "reduce", "size_average")


def note_score(x: torch.Tensor, roots: list[Root], activity: int) -> None:
    """A loss function or a class decision on what an inference forward returned: that forward was scored.

    The output itself, or what was made of outputs since (joined, soft-maxed): a tensor of the same shape for each
    sample, met before anything is trained again.
    """
    for root in roots:
        block = root.last_block
        if block is None or block[1][0] != "inference":
            continue
        same = any(ref() is x for ref in root.last_outputs)
        alike = block[1][1] == activity and x.ndim > 1 and x.shape[1:] == root.output_shape
        if same or alike:
            block[0].scored += 1
            return


def note_target(
    forward: Forward,
    name: str,
    x: torch.Tensor,
    target: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    """Keep a host copy of the target beside the kept input, if it has one entry for each sample."""
    kept: Kept = forward.kept
    if (
        type(target) not in PLAIN
        or not x.ndim
        or not target.ndim
        or target.shape[0] != kept.samples
    ):
        return
    outputs = [ref() for ref in forward.root.last_outputs]
    direct = [i for i, t in enumerate(outputs) if t is x]
    kept.target = target.detach().to("cpu", copy=True)
    kept.loss = name
    # Positional options beyond the target are rare; without their names the loss cannot be taken again.
    kept.direct, kept.output = bool(direct) and not args, direct[0] if direct else 0
    kept.loss_kwargs = {k: v for k, v in kwargs.items() if k not in REDUCTIONS}
