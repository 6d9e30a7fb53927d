# pyright: basic
"""Padding behind sequences, found by its values, and what it does to the statistics of norms over positions."""

from __future__ import annotations

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.probes.population import Moments
from normscope.record.torch.batches import Kept

LEAST_SHARE = 0.1  # of positions
ELSEWHERE = 0.01  # of the real positions may hold the same vector by chance


def mask_of(batch: Kept) -> torch.Tensor | None:
    """Which positions of the first input are padding, (samples, length); None where nothing shows that some are.

    Padding is a run of one constant vector at the end of samples, of different length, that hardly occurs elsewhere: dark borders of
    images and rare events do. Read along the last dimension of (N, C, L), the middle one of (N, L, C), and of (N, L) integers.
    """
    x = next(
        (a for a in (*batch.args, *batch.kwargs.values()) if isinstance(a, torch.Tensor)), None
    )
    if x is None or not len(x):
        return None
    if x.ndim == 2 and not x.is_floating_point():
        return _suffix(x[..., None])
    if x.ndim == 3:
        found = _suffix(x)
        return _suffix(x.transpose(1, 2)) if found is None else found
    return None


def _suffix(x: torch.Tensor) -> torch.Tensor | None:
    """`x` is (samples, length, features)."""
    samples, length, _ = x.shape
    if samples < 4 or length < 4:
        return None
    ends, counts = x[:, -1].unique(dim=0, return_counts=True)
    pad = ends[counts.argmax()]
    same = (x == pad).all(2)
    mask = same.flip(1).int().cummin(1).values.flip(1).bool()
    lengths = mask.sum(1)
    elsewhere = int((same & ~mask).sum()) / max(1, int((~mask).sum()))
    enough = float(mask.double().mean()) >= LEAST_SHARE and len(lengths.unique()) >= 3
    return mask if enough and elsewhere <= ELSEWHERE and bool((lengths < length).all()) else None


class Padded:
    """A listener of `visit` that pools the moments of each norm's input with and without padded positions."""

    def __init__(self, masks: dict[int, torch.Tensor]) -> None:
        self.masks = masks  # by id of the kept batch
        self.all: dict[_BatchNorm, Moments] = {}
        self.real: dict[_BatchNorm, Moments] = {}

    def __call__(self, batch: Kept, norm: _BatchNorm, x: torch.Tensor, out: torch.Tensor) -> None:
        mask = self.masks.get(id(batch))
        if mask is None:
            return
        mask = mask.to(x.device)
        if x.ndim == 3 and (x.shape[0], x.shape[2]) == mask.shape:
            x, out = x.transpose(1, 2), out.transpose(1, 2)
        elif x.ndim == 2 and len(x) == mask.numel():
            mask = mask.flatten()
        else:
            return  # other positions than those of the input, or only the real ones
        if not out[mask].any() and _shifted(norm, x[mask]):
            return  # it clears the padding: it knows of it
        rows, x = x[~mask], x.flatten(0, -2)
        for held, here in ((self.all, Moments.of(x)), (self.real, Moments.of(rows))):
            before = held.get(norm)
            held[norm] = here if before is None else before + here

    def effect(self, norm: _BatchNorm) -> tuple[float, float]:
        """Shift of the mean in deviations of real positions, and variance with over that without; medians over channels."""
        whole, real = self.all[norm], self.real[norm]
        spread = real.var + norm.eps
        shift = (whole.mean - real.mean).abs() / spread.sqrt()
        return float(shift.median()), float(((whole.var + norm.eps) / spread).median())


def _shifted(norm: _BatchNorm, rows: torch.Tensor) -> bool:
    """Whether the norm would give other values than 0 for these rows, (rows, channels), if it treated them as any others."""
    if norm.running_mean is None or norm.running_var is None:
        return True
    out = (rows - norm.running_mean) * (norm.running_var + norm.eps).rsqrt()
    if norm.weight is not None:
        out = out * norm.weight
    if norm.bias is not None:
        out = out + norm.bias
    return bool(out.any())
