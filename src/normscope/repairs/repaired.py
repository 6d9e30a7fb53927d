# pyright: basic
"""What a repair of a model hands back: the repaired copy, what became of old checkpoints, and a measured certificate."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
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

Uninitialized = nn.UninitializedParameter | nn.UninitializedBuffer
State = Mapping[str, torch.Tensor]
# In units of the dtype's eps, in standard deviations of the output: a hundred layers stay far below, a wrong exchange far above.
ROUNDING = 1e5


def _same(state: State) -> dict[str, torch.Tensor]:
    return dict(state)


@dataclass(frozen=True, slots=True)
class Migration:
    """State dicts of the model before the repair, made to fit the model after it, and the other way round."""

    forward: Callable[[State], dict[str, torch.Tensor]] = field(default=_same)
    backward: Callable[[State], dict[str, torch.Tensor]] = field(default=_same)


def copied(model: nn.Module, *, shared: bool = False) -> nn.Module:
    """A deep copy to work on; with `shared` it holds the model's own parameters. Raises NormscopeError where there can be none."""
    if any(isinstance(m, torch.jit.ScriptModule) for m in model.modules()):
        raise NormscopeError(
            f"`{type(model).__name__}` is TorchScript, whose operations are compiled in. Repair the model that it was made from."
        )
    if any(isinstance(t, Uninitialized) for m in model.modules() for t in _own_tensors(m)):
        raise NormscopeError(
            f"`{type(model).__name__}` has lazy layers that never ran: call it once, so that they know their sizes."
        )
    try:
        return copy.deepcopy(model, {id(p): p for p in model.parameters()} if shared else None)
    except Exception as error:  # noqa: BLE001, whatever the parts of a user's model raise when they are copied
        told = " ".join(str(error).split())
        raise NormscopeError(
            f"`{type(model).__name__}` cannot be copied ({type(error).__name__}: {told}), and a repair works on a copy. "
            "Hand over the model before it was used for training, or detach tensors that it keeps."
        ) from None


def _own_tensors(module: nn.Module) -> Iterator[torch.Tensor | None]:
    yield from module._parameters.values()
    yield from module._buffers.values()


def differences(
    before: nn.Module, after: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Difference, ...]:
    """How far the outputs of two models are apart on the same inputs, in evaluation and in training mode.

    Training mode: batch statistics where a layer can take any, dropout off in both. None are given without inputs.
    Raises NormscopeError when the forward pass of one of them raises.
    """
    if not args and not kwargs:
        return ()
    found: list[Difference] = []
    samples = next((t.shape[0] for t in tensors_of((args, kwargs)) if t.ndim), 0)
    for mode in ("eval", "train"):
        one = two = None
        try:
            one = _outputs(before, args, kwargs, training=mode == "train")
            two = _outputs(after, args, kwargs, training=mode == "train")
        except Exception as error:
            if mode == "train" and isinstance(error, ValueError):
                continue  # one value per channel: there are no batch statistics
            raise _no_output(before, error, repaired=one is not None) from error
        found.append(Difference(mode=mode, distance=distance(one, two), samples=samples))
    return tuple(found)


def counted(before: nn.Module, after: nn.Module) -> str:
    """Parameters and buffers of both, in numbers; tensors that are shared count once."""
    told: list[str] = []
    for name, tensors in (
        ("parameters", nn.Module.parameters),
        ("values in buffers", nn.Module.buffers),
    ):
        old, new = (sum(t.numel() for t in tensors(m)) for m in (before, after))
        told.append(
            f"{old:,} {name} as before" if old == new else f"{new:,} {name} instead of {old:,}"
        )
    return ", ".join(told)


def keeps_evaluation(model: nn.Module, found: Sequence[Difference]) -> None:
    """Raises NormscopeError where outputs in evaluation mode moved by more than rounding, for repairs that must not move them."""
    limit = ROUNDING * max(
        (torch.finfo(t.dtype).eps for t in model.parameters() if t.is_floating_point()),
        default=torch.finfo(torch.float32).eps,
    )
    for d in found:
        if d.mode == "eval" and d.distance is not None and d.distance > limit:
            raise NormscopeError(
                f"Evaluation would move by {d.distance:.2g} standard deviations, and this repair must not move it: "
                f"`{type(model).__name__}` does more with these layers than call them, or `eval()` does not reach them. Nothing was changed."
            )


def _no_output(model: nn.Module, error: Exception, *, repaired: bool) -> NormscopeError:
    name, told = type(model).__name__, f"{type(error).__name__}: {' '.join(str(error).split())}"
    if not repaired:
        return NormscopeError(f"Calling `{name}` raised {told}")
    return NormscopeError(
        f"`{name}` cannot be called after the repair ({told}): its forward pass uses the layers in another way than by calling "
        "them. Nothing was changed."
    )


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
