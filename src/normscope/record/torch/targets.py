# pyright: basic
"""Which loss a model's output met, and against which target: seen when the loss function is called."""

from __future__ import annotations

from typing import Any

import torch

from normscope.record.timeline import Forward
from normscope.record.torch.batches import Kept
from normscope.record.torch.roles import PLAIN
from normscope.record.torch.roots import Root

REDUCTIONS = ("reduction", "reduce", "size_average")


def note_score(
    x: torch.Tensor,
    roots: list[Root],
    activity: int,
    *,
    threshold: bool = False,
    positive: bool = False,
) -> None:
    """A loss function or a class decision on what an inference forward returned: that forward was scored.

    The output itself, or what was made of outputs since (joined, soft-maxed): a tensor of the same shape for each
    sample, met before anything is trained again. Against a threshold also a view of the output, and one number for each
    sample of a model that gives one; and where the threshold is `positive`, one number for each sample or pair of samples, or
    for each of any two, as a probability or a distance is. (Labels are made by comparing data with 0.)
    """
    for root in roots:
        block, shape = root.last_block, root.output_shape
        if block is None or block[1][0] != "inference":
            continue
        alike = bool(shape) and x.ndim > 1 and x.shape[1:] == shape[1:]
        if shape and threshold:
            single = x.ndim == 1 and shape.numel() == shape[0] == x.shape[0] > 1
            each = positive and _number_for_each(x.shape, shape[0])
            alike = x.is_floating_point() and (alike or single or each)
        outputs = [t for ref in root.last_outputs if (t := ref()) is not None]
        same = any(t is x or (threshold and x._base is t) for t in outputs)
        if same or (alike and block[1][1] == activity):
            block[0].scored += 1
            return


def _number_for_each(shape: torch.Size, samples: int) -> bool:
    """Whether a tensor of that shape has one number for each sample, each pair in order, or each two samples."""
    if samples < 2 or len(shape) not in (1, 2):
        return False
    if len(shape) == 2:
        return shape[0] == samples and shape[1] in (1, samples)
    return samples in (shape[0], 2 * shape[0])


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
    kept.target = _on_host(target)
    kept.loss = name
    # Without its name a positional option cannot be given again; None, as torch's own modules pass it, is none.
    plain = all(a is None for a in args)
    kept.direct, kept.output = bool(direct) and plain, direct[0] if direct else 0
    kept.loss_kwargs = {
        k: _on_host(v) if isinstance(v, torch.Tensor) else v
        for k, v in kwargs.items()
        if k not in REDUCTIONS
    }


def _on_host(tensor: torch.Tensor) -> torch.Tensor:
    """A copy: the script may write to its own, and a device's memory is its own too."""
    return tensor.detach().to("cpu", copy=True)
