# pyright: basic
"""Whether an output depends on the other samples of its batch in evaluation mode, and which layers make it so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.graph.torch import contents
from normscope.graph.torch.tensors import like
from normscope.probes.judgement import judge
from normscope.probes.replay import respond
from normscope.record.torch.batches import Kept

NEAR, FAR = 1e-3, 1e-2  # of the output's size; rounding in half precision is below the first


def coupling(model: nn.Module, batches: list[Kept]) -> float | None:
    """Rms change of the first half's outputs when another half replaces the second, in output deviations.

    The mode is what the user's own `eval()` leaves. None when no two batches are of one size, or no output has one row
    for each sample. To be called inside `untouched`.
    """
    first = batches[0]
    second = next((b for b in batches[1:] if b.samples == first.samples), None)
    if second is None or first.samples < 4:
        return None
    half = first.samples // 2
    model.eval()
    whole, other = (
        judge(b, respond(model, b)).output for b in (first, exchanged(first, second, half))
    )
    if whole is None or other is None or whole.shape != other.shape:
        return None
    moved = float((whole[:half] - other[:half]).square().mean().sqrt())
    sd = float(whole.std())
    return moved / sd if sd > 0 else 0.0


def exchanged(first: Kept, second: Kept, stay: int) -> Kept:
    """The batch `first` with all samples but the first `stay` replaced by those of `second`, which is of the same size."""
    n = first.samples
    return replace(
        first,
        args=tuple(_mix(p, q, stay, n) for p, q in zip(first.args, second.args, strict=False)),
        kwargs={k: _mix(v, second.kwargs.get(k), stay, n) for k, v in first.kwargs.items()},
    )


def coupled(model: nn.Module, batch: Kept) -> list[_BatchNorm]:
    """The batch norms that normalize with the batch's own statistics after the user's own `eval()`.

    Told from their outputs, so that a flag fixed inside a subclass is seen as well. To be called inside `untouched`.
    """
    found: dict[_BatchNorm, None] = {}

    def compare(module: nn.Module, args: tuple[Any, ...], out: Any) -> None:
        x = args[0] if args else None
        if not isinstance(module, _BatchNorm) or not isinstance(x, torch.Tensor):
            return
        if not isinstance(out, torch.Tensor) or out.shape != x.shape or len(x) < 2:
            return
        own = _normalized(module, x, batch_stats=True)
        size = float(own.float().std())
        if _apart(out, own) > NEAR * size:
            return
        stored = None if module.running_mean is None else _normalized(module, x, batch_stats=False)
        if stored is None or _apart(out, stored) > FAR * size:
            found[module] = None

    handles = [
        m.register_forward_hook(compare)
        for m in contents.modules(model)
        if isinstance(m, _BatchNorm)
    ]
    try:
        model.eval()
        respond(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    return list(found)


def _normalized(norm: _BatchNorm, x: torch.Tensor, *, batch_stats: bool) -> torch.Tensor:
    mean, var = (None, None) if batch_stats else (norm.running_mean, norm.running_var)
    return F.batch_norm(x, mean, var, norm.weight, norm.bias, batch_stats, 0.0, norm.eps)


def _apart(x: torch.Tensor, y: torch.Tensor) -> float:
    return float((x.float() - y.float()).square().mean().sqrt())


def _mix(p: Any, q: Any, half: int, samples: int) -> Any:
    if isinstance(p, dict) and isinstance(q, dict):
        return {k: _mix(v, q.get(k), half, samples) for k, v in p.items()}
    if isinstance(p, (list, tuple)) and type(p) is type(q) and len(p) == len(q):
        return like(p, (_mix(v, w, half, samples) for v, w in zip(p, q, strict=True)))
    if not isinstance(p, torch.Tensor) or not isinstance(q, torch.Tensor) or not p.ndim:
        return p
    return torch.cat([p[:half], q[half:]]) if p.shape == q.shape and len(p) == samples else p
