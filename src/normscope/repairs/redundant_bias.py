# pyright: basic
"""Fold a bias that batch normalization cancels into the norm's running mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from normscope.repairs.certificate import Certificate, LeftAlone
from normscope.repairs.neighbours import Pair, captured, pairs
from normscope.repairs.repaired import (
    Migration,
    State,
    copied,
    counted,
    differences,
    keeps_evaluation,
)


def fold_redundant_bias(
    model: nn.Module, *inputs: Any, **kwargs: Any
) -> tuple[nn.Module, Certificate, Migration]:
    """Remove biases between a linear map and the batch norm that alone reads it; exact in both modes.

    Requires: the norm is the only reader of Wx + b, both are modules that are called once, and the norm's channels are the
    map's. Ensures: BN(Wx + b) with running mean μ equals BN(Wx) with running mean μ − b, in training mode because the batch mean
    holds b as well (Ioffe & Szegedy 2015, section 3.2), and so do all later updates of μ.

    Args:
        inputs: what the model is called with; the graph is read from one forward pass.

    Raises NormscopeError when the model cannot be copied or called, and when evaluation would move.
    """
    repaired = copied(model)
    found = list(pairs(repaired, captured(repaired, inputs, kwargs, training=True)))
    chosen = [p for p in found if isinstance(p, Pair) and p.affine.bias is not None]
    folded: list[_Folded] = []
    for pair in chosen:
        assert isinstance(pair.affine.bias, torch.Tensor)
        assert isinstance(pair.norm.running_mean, torch.Tensor)
        bias = pair.affine.bias.detach().clone()
        pair.norm.running_mean.sub_(bias.repeat_interleave(pair.repeat).to(pair.norm.running_mean))
        pair.affine.register_parameter("bias", None)
        folded.append(_Folded(pair.affine_path, pair.norm_path, bias, pair.repeat))
    apart = differences(model, repaired, inputs, kwargs)
    keeps_evaluation(model, apart)
    removed = sum(f.bias.numel() for f in folded)
    certificate = Certificate(
        repair="fold-redundant-bias",
        kind="exact",
        model=type(model).__name__,
        done=f"removed {len(folded)} bias{'es' * (len(folded) != 1)} ({removed} parameters) that a batch norm cancels",
        left=tuple(p for p in found if isinstance(p, LeftAlone)),
        differences=apart,
        parameters=counted(model, repaired),
        cost="a little less: no bias is added, and none is optimized",
        checkpoints="the bias goes, and is subtracted from the norm's running mean",
    )
    return (
        repaired,
        certificate,
        Migration(lambda s: _migrated(s, folded), lambda s: _restored(s, folded)),
    )


@dataclass(frozen=True, slots=True)
class _Folded:
    affine: str
    norm: str
    bias: torch.Tensor  # as it was in the model that was repaired
    repeat: int


def _migrated(state: State, folded: list[_Folded]) -> dict[str, torch.Tensor]:
    new = dict(state)
    for f in folded:
        mean = f"{f.norm}.running_mean"
        bias = new.pop(f"{f.affine}.bias", None)
        if bias is not None and mean in new:
            new[mean] = new[mean] - bias.repeat_interleave(f.repeat).to(new[mean])
    return new


def _restored(state: State, folded: list[_Folded]) -> dict[str, torch.Tensor]:
    """The model before the repair computes the same with a bias of zero."""
    zeros = {f"{f.affine}.bias": torch.zeros_like(f.bias) for f in folded}
    return dict(state) | zeros
