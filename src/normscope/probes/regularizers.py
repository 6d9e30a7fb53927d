# pyright: basic
"""Regularizers of a model under training, each with its switch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.graph.torch import contents
from normscope.probes.dropout import DROPOUTS, Switch
from normscope.probes.population import install, population
from normscope.probes.setup import Given
from normscope.probes.visit import Calls

DROPOUT, NOISE, DECAY = "dropout", "batch noise", "weight decay"


def as_trained(model: nn.Module) -> None:
    """The modes of training: as they are where the model was handed over in training mode, else all of them on."""
    if not model.training:
        for module in contents.modules(model):
            module.training = True


def noisy_norms(model: nn.Module) -> list[str]:
    """Paths of batch norms with running statistics that training runs with batch statistics: not those that were frozen on purpose."""
    return [
        path
        for path, m in contents.named_modules(model)
        if isinstance(m, _BatchNorm)
        and m.running_mean is not None
        and (m.training or not model.training)
    ]


class Dropless:
    """A handle for `visit.Calls` that turns every dropout off, and knows whether there was one that would have acted."""

    def __init__(self) -> None:
        self.met = False

    def call(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if name == "scaled_dot_product_attention":
            self.met |= bool(kwargs.get("dropout_p", args[4] if len(args) > 4 else 0.0))
            kwargs = {k: v for k, v in kwargs.items() if k != "dropout_p"}
            if len(args) > 4:
                args = (*args[:4], 0.0, *args[5:])
            return func(*args, **kwargs)
        if name not in DROPOUTS:
            return func(*args, **kwargs)
        flag = "train" if "train" in kwargs else "training"
        on = kwargs[flag] if flag in kwargs else args[2] if len(args) > 2 else True
        rate = kwargs.get("p", args[1] if len(args) > 1 else 0.5)
        self.met |= bool(on) and rate > 0
        if flag in kwargs or len(args) < 3:
            return func(*args, **(kwargs | {flag: False}))
        return func(*args[:2], False, *args[3:], **kwargs)


@contextmanager
def dropless(model: nn.Module) -> Iterator[Dropless]:
    """No dropout inside the block, that of attention and recurrent modules included."""
    handle = Dropless()
    inner = [
        (m, m.dropout)
        for m in contents.modules(model)
        if isinstance(m, (nn.MultiheadAttention, nn.RNNBase)) and m.dropout
    ]
    handle.met = bool(inner)
    for module, _ in inner:
        module.dropout = 0.0
    try:
        with Calls(handle.call):
            yield handle
    finally:
        for module, rate in inner:
            module.dropout = rate


@contextmanager
def _all_on(_: nn.Module) -> Iterator[None]:
    yield


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to train on: everything on, or without one regularizer."""

    without: str = ""

    def forward(self, model: nn.Module) -> Any:
        """A context in which the training forwards run."""
        return dropless(model) if self.without == DROPOUT else _all_on(model)

    def prepare(self, model: nn.Module, batches: list[Given], norms: list[_BatchNorm]) -> None:
        """Modes of training; without batch noise, batch norms stand at population values of inputs with dropout as it acts."""
        as_trained(model)
        if self.without != NOISE:
            return
        before = [(m, m.training, getattr(m, "momentum", None)) for m in contents.modules(model)]
        with torch.no_grad(), Calls(Switch().call):
            install(population(model, batches, norms))
        for module, training, momentum in before:
            module.training = training
            if isinstance(module, _BatchNorm):
                module.momentum = momentum
        for norm in norms:
            norm.training = False

    def decayed(self, optimizer: torch.optim.Optimizer, weight_decay: float) -> None:
        """Weight decay off in this arm; else the setup's, where the optimizer has none of its own."""
        own = any(group.get("weight_decay", 0.0) for group in optimizer.param_groups)
        for group in optimizer.param_groups:
            if self.without == DECAY:
                group["weight_decay"] = 0.0
            elif not own:
                group["weight_decay"] = weight_decay
