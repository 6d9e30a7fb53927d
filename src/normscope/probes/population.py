# pyright: basic
"""Population statistics of every batch norm's input, by the pooled estimator.

Over all values of all batches: not the mean of batch variances, which misses the variance between batches
(Wu & Johnson 2021, appendix; the same estimator as in fvcore).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.nn.batch_renorm import BatchRenorm
from normscope.nn.masked_batch_norm import MaskedBatchNorm
from normscope.probes.replay import replay, set_mode
from normscope.record.torch.batches import Kept


@dataclass(frozen=True, slots=True)
class Moments:
    """Of values per channel: how many, their mean, and the sum of squared deviations from it; float64, shape (channels,)."""

    count: int
    mean: torch.Tensor
    squares: torch.Tensor

    @classmethod
    def of(cls, x: torch.Tensor) -> Moments:
        """`x` has shape (N, C, *). Taken in float64, so that neither large means nor half precision cost digits."""
        wide = x.detach().cpu() if x.device.type == "mps" else x.detach()  # mps has no float64
        flat = wide.double().transpose(0, 1).flatten(1)
        var, mean = torch.var_mean(flat, dim=1, correction=0)
        return cls(flat.shape[1], mean, var * flat.shape[1])

    def __add__(self, other: Moments) -> Moments:
        # Chan, Golub & LeVeque 1979: sums of squares about each one's own mean lose no digits.
        count = self.count + other.count
        apart = other.mean - self.mean
        mean = self.mean + apart * (other.count / count)
        between = apart.square() * (self.count * other.count / count)
        return Moments(count, mean, self.squares + other.squares + between)

    @property
    def degrees(self) -> float:
        """Of freedom: what the squares are divided by."""
        return float(max(1, self.count - 1))

    @property
    def var(self) -> torch.Tensor:
        """Unbiased, as running variances are."""
        return self.squares / self.degrees


Statistics = Mapping[_BatchNorm, Moments]


def population(
    model: nn.Module, batches: Iterable[Kept], norms: Collection[_BatchNorm]
) -> dict[_BatchNorm, Moments]:
    """Moments of each norm's input while all of them normalize with batch statistics, as in training.

    To be called inside `untouched`. A layer that no batch reaches has no entry.
    """
    set_mode(model, batch_stats=norms)
    found: dict[_BatchNorm, Moments] = {}

    def note(module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        x = args[0] if args else kwargs.get("input")
        if isinstance(module, MaskedBatchNorm):
            x = module.real(*args, **kwargs)  # pyright: ignore[reportArgumentType]
        if (
            isinstance(module, _BatchNorm)
            and isinstance(x, torch.Tensor)
            and x.ndim >= 2
            and x.numel()
        ):
            here = Moments.of(x)
            found[module] = found[module] + here if module in found else here

    handles = [m.register_forward_pre_hook(note, with_kwargs=True) for m in norms]
    with ExitStack() as stack:
        for handle in handles:
            stack.callback(handle.remove)
        for norm in norms:
            if isinstance(norm, BatchRenorm):
                stack.enter_context(norm.uncorrected())
        for batch in batches:
            replay(model, batch)
    return found


def pooled(parts: Iterable[Statistics]) -> dict[_BatchNorm, Moments]:
    """Moments of all the parts' values together."""
    found: dict[_BatchNorm, Moments] = {}
    for part in parts:
        for norm, moments in part.items():
            found[norm] = found[norm] + moments if norm in found else moments
    return found


def install(statistics: Statistics, only: _BatchNorm | None = None) -> None:
    """Write the statistics into the running buffers of all their layers, or of one."""
    chosen = {
        norm: moments
        for norm, moments in statistics.items()
        if (only is None or norm is only) and norm.running_mean is not None
    }
    if chosen:
        buffers = [b for n in chosen for b in (n.running_mean, n.running_var)]
        torch._foreach_copy_(buffers, means_and_variances([*chosen.values()]))  # pyright: ignore


def means_and_variances(moments: Sequence[Moments]) -> list[torch.Tensor]:
    """Mean and unbiased variance of each in turn: one operation for all layers."""
    squares, degrees = [m.squares for m in moments], [m.degrees for m in moments]
    variances = torch._foreach_div(squares, degrees)  # pyright: ignore[reportPrivateImportUsage]
    return [x for m, var in zip(moments, variances, strict=True) for x in (m.mean, var)]
