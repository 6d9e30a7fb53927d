# pyright: basic
"""What a repair of a model hands back: the repaired copy, what became of old checkpoints, and a measured certificate."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from normscope.errors import NormscopeError
from normscope.graph.torch import tensors_of
from normscope.probes.replay import batch_norms, set_mode, to_device
from normscope.probes.untouched import untouched
from normscope.repairs.certificate import Difference
from normscope.repairs.recalibration.certifying import distance

State = Mapping[str, torch.Tensor]


def _same(state: State) -> dict[str, torch.Tensor]:
    return dict(state)


@dataclass(frozen=True, slots=True)
class Migration:
    """State dicts of the model before the repair, made to fit the model after it, and the other way round."""

    forward: Callable[[State], dict[str, torch.Tensor]] = field(default=_same)
    backward: Callable[[State], dict[str, torch.Tensor]] = field(default=_same)


def copied(model: nn.Module) -> nn.Module:
    """A deep copy to work on. Raises NormscopeError for a model that cannot be copied."""
    try:
        return copy.deepcopy(model)
    except Exception as error:  # noqa: BLE001, whatever the parts of a user's model raise when they are copied
        told = " ".join(str(error).split())
        raise NormscopeError(
            f"`{type(model).__name__}` cannot be copied ({type(error).__name__}: {told}), and a repair works on a copy. "
            "Hand over the model before it was used for training, or detach tensors that it keeps."
        ) from None


def differences(
    before: nn.Module, after: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Difference, ...]:
    """How far the outputs of two models are apart on the same inputs, in evaluation and in training mode.

    Training mode: batch statistics where a layer can take any, dropout off in both. None are given without inputs.
    """
    if not args and not kwargs:
        return ()
    found: list[Difference] = []
    samples = next((t.shape[0] for t in tensors_of((args, kwargs)) if t.ndim), 0)
    for mode in ("eval", "train"):
        try:
            one, two = (
                _outputs(m, args, kwargs, training=mode == "train") for m in (before, after)
            )
        except ValueError:  # one value per channel: there are no batch statistics
            continue
        found.append(Difference(mode=mode, distance=distance(one, two), samples=samples))
    return tuple(found)


def _outputs(
    model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], *, training: bool
) -> list[torch.Tensor]:
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    with untouched(model):
        set_mode(model, batch_norms(model) if training else ())
        out = model(
            *(to_device(a, device) for a in args),
            **{k: to_device(v, device) for k, v in kwargs.items()},
        )
        floating = (t for t in tensors_of(out) if t.is_floating_point())
        return [t.detach().to("cpu", copy=True).double() for t in floating]
