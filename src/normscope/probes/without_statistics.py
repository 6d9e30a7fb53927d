# pyright: basic
"""A copy of a model whose batch norms are replaced by norms that look at one sample at a time."""

from __future__ import annotations

from copy import deepcopy
from typing import Literal

import torch
from torch import nn
from torch.nn.modules.batchnorm import SyncBatchNorm, _BatchNorm

from normscope.errors import NormscopeError

PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, SyncBatchNorm)
GROUPS = 32  # Wu & He 2018
ROOM = 8  # channels of a group


def replaced(model: nn.Module, kind: Literal["group", "layer"]) -> nn.Module:
    """The copy, with scales, shifts and ε carried over. `layer` normalizes all channels of a sample together.

    Raises NormscopeError where a norm cannot be replaced, and when the model cannot be copied.
    """
    copy = copied(model)
    norms = {m: path for path, m in copy.named_modules() if isinstance(m, _BatchNorm)}
    new = {norm: _instead_of(norm, kind, path) for norm, path in norms.items()}
    for path, module in list(copy.named_modules(remove_duplicate=False)):
        if isinstance(module, _BatchNorm):
            parent, _, name = path.rpartition(".")
            if not path:
                return new[module]
            setattr(copy.get_submodule(parent), name, new[module])
    return copy


def copied(model: nn.Module) -> nn.Module:
    """A deep copy. Raises NormscopeError with the reason when the model cannot be copied."""
    try:
        return deepcopy(model)
    except Exception as error:  # whatever a user's object raises when it is copied
        told = " ".join(str(error).split()) or "no message"
        raise NormscopeError(f"it cannot be copied: {type(error).__name__}: {told}") from error


def _instead_of(norm: _BatchNorm, kind: str, path: str) -> nn.GroupNorm:
    if type(norm) not in PLAIN:
        raise NormscopeError(
            f"`{path}` is a {type(norm).__name__}, which may do more than normalize"
        )
    channels = norm.num_features
    groups = 1 if kind == "layer" else _groups(channels)
    if channels < 2 or (kind == "group" and groups < 2):
        raise NormscopeError(f"the {channels} channels of `{path}` cannot be divided into groups")
    other = nn.GroupNorm(groups, channels, norm.eps, norm.affine)
    if norm.affine:
        other.weight, other.bias = norm.weight, norm.bias
    device = next((t.device for t in (*norm.parameters(), *norm.buffers())), torch.device("cpu"))
    return other.to(device).train(norm.training)


def _groups(channels: int) -> int:
    """The largest divisor up to 32 that leaves eight channels in a group, else two: of two values only a sign is left."""
    divisors = [g for g in range(1, GROUPS + 1) if channels % g == 0]
    wide = [g for g in divisors if channels >= ROOM * g]
    return max(
        wide if max(wide, default=1) > 1 else [g for g in divisors if channels >= 2 * g], default=1
    )
