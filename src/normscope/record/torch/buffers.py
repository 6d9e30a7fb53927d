# pyright: basic
"""Running statistics, read at sampled steps: all layers at once, on the host."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from normscope.record.series import Reading
from normscope.record.torch.layers import NormLayer
from normscope.record.torch.norms import is_lazy


def read(layers: list[NormLayer], step: int) -> Reading | None:
    """Read every layer that keeps running statistics; None when there is none."""
    held: list[tuple[NormLayer, Any, Any]] = []
    for layer in layers:
        stored = layer.buffers()
        if (
            stored is not None
            and not is_lazy(stored[0])
            and not stored[0].is_meta
            and len(stored[0])
        ):
            held.append((layer, *stored))
    if not held:
        return None
    with torch.no_grad():
        values = _flat([*(m for _, m, _ in held), *(v for *_, v in held)])
    sizes = [m.numel() for _, m, _ in held]
    channels = sum(sizes)
    return Reading(
        step,
        [layer for layer, _, _ in held],
        np.cumsum([0, *sizes[:-1]]),
        values[:channels],
        values[channels:],
        [layer.record.updates for layer, _, _ in held],
        [_alpha(layer) for layer, _, _ in held],
        [torch.finfo(m.dtype).eps for _, m, _ in held],
    )


def _flat(tensors: list[torch.Tensor]) -> NDArray[np.float64]:
    """One transfer for each device and dtype, not one for each layer."""
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for i, t in enumerate(tensors):
        groups.setdefault((t.device, t.dtype), []).append(i)
    parts: list[Any] = [None] * len(tensors)
    for members in groups.values():
        flat = _host([tensors[i] for i in members])
        if len(groups) == 1:
            return flat
        at = 0
        for i in members:
            size = tensors[i].numel()
            parts[i] = flat[at : at + size]
            at += size
    return np.concatenate(parts)


def _host(tensors: list[torch.Tensor]) -> NDArray[np.float64]:
    """All numbers of tensors of one device and dtype, in a new array."""
    flat = [t if t.dim() == 1 else t.reshape(-1) for t in tensors]
    return torch.cat(flat).detach().to("cpu", torch.float64).numpy()


def _alpha(layer: NormLayer) -> float:
    return math.nan if layer.alpha is None else float(layer.alpha)
