# pyright: basic
"""What a batch norm can become: builders of layers that take over its parameters and buffers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope import nn as layers
from normscope.errors import NormscopeError
from normscope.record.torch.norms import is_fresh
from normscope.repairs.conversion.groups import LEAST, groups_for

BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True, slots=True)
class Wish:
    """The options of a conversion."""

    groups: int | None = None
    ghost_size: int = 32
    domains: int = 2
    trainable_affine: bool = True


@dataclass(frozen=True, slots=True)
class Target:
    """`build(norm, positions, wish)` makes the new layer; `tracks`: it keeps batch norm's buffers; `cost` in plain words."""

    name: str
    build: Callable[[_BatchNorm, int | None, Wish], nn.Module]
    tracks: bool
    function: str
    cost: str


def _words(norm: _BatchNorm) -> dict[str, Any]:
    return {"eps": norm.eps, "momentum": norm.momentum, "affine": norm.affine}


def _sync(norm: _BatchNorm, positions: int | None, wish: Wish) -> nn.Module:
    del positions, wish
    return nn.SyncBatchNorm(
        norm.num_features, **_words(norm), track_running_stats=norm.track_running_stats
    )


def _group(norm: _BatchNorm, positions: int | None, wish: Wish) -> nn.Module:
    groups = groups_for(norm.num_features, positions, wish.groups)
    return nn.GroupNorm(groups, norm.num_features, norm.eps, norm.affine)


def _layer(norm: _BatchNorm, positions: int | None, wish: Wish) -> nn.Module:
    """One group over all channels and positions: layer norm with a scale for each channel, as batch norm has it."""
    del wish
    return nn.GroupNorm(
        groups_for(norm.num_features, positions, 1), norm.num_features, norm.eps, norm.affine
    )


def _instance(norm: _BatchNorm, positions: int | None, wish: Wish) -> nn.Module:
    """As many groups as channels: instance norm for inputs of any number of dimensions."""
    del wish
    if positions is not None and positions < LEAST:
        raise NormscopeError(
            f"a channel of one sample has {positions} value{'s' if positions > 1 else ''}: too few to normalize among themselves "
            f"({LEAST} are needed)"
        )
    if positions is None and isinstance(norm, nn.BatchNorm1d):
        raise NormscopeError(
            "whether its channels have positions is not known: give an input, for normalizing single values would erase them"
        )
    return nn.GroupNorm(norm.num_features, norm.num_features, norm.eps, norm.affine)


def _renorm(norm: _BatchNorm, positions: int | None, wish: Wish) -> nn.Module:
    del positions, wish
    _check_tracks(norm)
    return layers.BatchRenorm(norm.num_features, **_words(norm))


def _ghost(norm: _BatchNorm, positions: int | None, wish: Wish) -> nn.Module:
    del positions
    _check_tracks(norm)
    return layers.GhostBatchNorm(norm.num_features, wish.ghost_size, **_words(norm))


def _check_tracks(norm: _BatchNorm) -> None:
    """Raises NormscopeError for a layer that normalizes with batch statistics in evaluation, too: the new one would not."""
    if norm.running_mean is None or norm.running_var is None:
        raise NormscopeError(
            "it keeps no running statistics that the new layer could evaluate with"
        )


def _frozen(norm: _BatchNorm, positions: int | None, wish: Wish) -> nn.Module:
    del positions
    mean, var = norm.running_mean, norm.running_var
    if mean is None or var is None:
        raise NormscopeError("it keeps no running statistics that could be frozen")
    if is_fresh(mean, var):
        raise NormscopeError(
            "its running statistics are still 0 and 1: frozen so, it would not normalize at all (train or recalibrate first)"
        )
    return layers.FrozenBatchNorm(
        norm.num_features, **_words(norm), trainable_affine=wish.trainable_affine
    )


def _domain(norm: _BatchNorm, positions: int | None, wish: Wish) -> nn.Module:
    del positions
    _check_tracks(norm)
    return layers.DomainBatchNorm(norm.num_features, wish.domains, **_words(norm))


TARGETS: Mapping[str, Target] = {
    t.name: t
    for t in (
        Target(
            "sync",
            _sync,
            True,
            "the same on one process; statistics of all ranks on several",
            "one exchange a layer and step",
        ),
        Target(
            "group",
            _group,
            False,
            "statistics of each sample alone: the same in training and in evaluation",
            "about 1 to 1.5 of batch norm's time, no buffers",
        ),
        Target(
            "layer",
            _layer,
            False,
            "statistics of each sample over all its channels",
            "about that of group norm",
        ),
        Target(
            "instance",
            _instance,
            False,
            "statistics of each sample and channel alone: contrast is lost",
            "about that of group norm",
        ),
        Target(
            "renorm",
            _renorm,
            True,
            "training outputs are corrected towards those of evaluation, once its schedule has begun",
            "a few operations on channels more",
        ),
        Target(
            "ghost",
            _ghost,
            True,
            "training statistics of parts of the batch; evaluation stays the same",
            "none to speak of; with channels last half of batch norm's time more",
        ),
        Target(
            "frozen",
            _frozen,
            True,
            "evaluation stays the same, and training does what evaluation does",
            "less than batch norm in training",
        ),
        Target(
            "domain",
            _domain,
            True,
            "statistics for each domain, which all start from the present ones",
            "one set of buffers a domain",
        ),
    )
}


def take_over(new: nn.Module, norm: _BatchNorm) -> nn.Module:
    """Hand the parameters themselves, the buffers and the mode of `norm` to the new layer."""
    inner = list(new.norms) if isinstance(new, layers.DomainBatchNorm) else [new]
    for i, layer in enumerate(inner):
        for name in ("weight", "bias"):
            if name in layer._parameters:
                layer._parameters[name] = getattr(norm, name)
        for name in BUFFERS:
            own, old = layer._buffers.get(name), norm._buffers.get(name)
            if own is not None and old is not None:
                # Each domain moves its own from here on.
                layer._buffers[name] = old if i == 0 else old.clone()
        layer.train(norm.training)
    new.training = norm.training
    return new.to(next((p.device for p in norm.parameters()), torch.device("cpu")))
