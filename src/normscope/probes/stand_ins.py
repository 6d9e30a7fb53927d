# pyright: basic
"""The gap of what a script evaluated in place of the trained weights: an average that was swapped in and out again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from normscope.errors import NormscopeError
from normscope.graph.torch import contents
from normscope.probes import gap
from normscope.probes.recent import recent
from normscope.record.torch.batches import Kept


def measure(
    model: nn.Module,
    state: Mapping[str, torch.Tensor],
    batches: list[Kept],
    layers: gap.Layers,
    *,
    model_id: int,
    name: str,
    seconds: float,
) -> gap.Answer:
    """The gap probe on the parameters and buffers of that evaluation. The model holds its own again afterwards."""
    with holding(model, state):
        return gap.measure(
            model, recent(batches), layers, model_id=model_id, name=name, seconds=seconds
        )


@contextmanager
def holding(model: nn.Module, state: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Lend the model other values for its parameters and buffers, for as long as the block runs.

    Raises NormscopeError when it does not hold tensors of these names and shapes any more.
    """
    held = {**dict(contents.named_parameters(model)), **dict(contents.named_buffers(model))}
    if any(name not in held or held[name].shape != value.shape for name, value in state.items()):
        raise NormscopeError("its parameters are not those of the evaluation any more")
    own = {name: held[name].detach().clone() for name in state}
    try:
        _copy(held, state)
        yield
    finally:
        _copy(held, own)


@torch.no_grad()
def _copy(held: Mapping[str, torch.Tensor], values: Mapping[str, torch.Tensor]) -> None:
    for name, value in values.items():
        held[name].copy_(value)
