# pyright: basic
"""Running a model again on kept batches: what is run, in which mode, and on which device."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import copy
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import UninitializedBuffer

from normscope.graph.torch import contents, tensors_of
from normscope.graph.torch.tensors import like
from normscope.record.torch.batches import Kept


def bare(model: nn.Module) -> nn.Module:
    """The user's model without wrappers: those for parallel training would communicate, a compiled one compile again."""
    parallel = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    while True:
        inner = getattr(model, "_orig_mod", None)
        if isinstance(model, parallel):
            model = model.module
        elif isinstance(inner, nn.Module):
            model = inner
        else:
            return model


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """The batch norm modules that keep running statistics; lazy ones that never ran have none yet."""
    return [
        m
        for m in contents.modules(model)
        if isinstance(m, _BatchNorm)
        and isinstance(m.running_mean, torch.Tensor)
        and isinstance(m.running_var, torch.Tensor)
        and not isinstance(m.running_mean, UninitializedBuffer)
    ]


def set_mode(model: nn.Module, batch_stats: Collection[_BatchNorm] = ()) -> None:
    """Everything in eval mode, so that dropout is off; the given batch norms with batch statistics, not updating.

    Flags are set one by one: a user's own `train()` may refuse or do more.
    """
    wanted = {*batch_stats}
    for module in contents.modules(model):
        if module.training is not (
            on := module in wanted
        ):  # to set an attribute of a module is slow
            module.training = on
    for norm in wanted:
        norm.momentum = 0.0


def replay(model: nn.Module, batch: Kept) -> list[torch.Tensor]:
    """The output tensors, in order, of one kept batch on the model's device."""
    return list(tensors_of(respond(model, batch)))


def respond(model: nn.Module, batch: Kept) -> Any:
    """What the model returns for one kept batch on its own device."""
    device = next((p.device for p in contents.parameters(model)), batch.device)
    args = tuple(to_device(a, device) for a in batch.args)
    return batch.call(model, args, {k: to_device(v, device) for k, v in batch.kwargs.items()})


def to_device(value: Any, device: torch.device) -> Any:
    """A fresh copy on the device: a model may change its input in place."""
    if isinstance(value, torch.Tensor):
        return value.to(device, copy=True)
    if isinstance(value, (list, tuple)):
        return like(value, (to_device(v, device) for v in value))
    if type(value) is dict:
        return {k: to_device(v, device) for k, v in value.items()}
    if callable(getattr(value, "to", None)) and not isinstance(value, type):
        return copy(value).to(device)  # batches of other libraries: of tokens, of graphs
    if isinstance(value, Mapping):
        return {k: to_device(v, device) for k, v in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        moved = {f.name: to_device(getattr(value, f.name), device) for f in fields(value) if f.init}
        return replace(value, **moved)
    return value
