# pyright: basic
"""State dicts from before a conversion, made to fit after it, and the other way round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from normscope.repairs.conversion.targets import BUFFERS
from normscope.repairs.repaired import Migration, State


@dataclass(frozen=True, slots=True)
class Renamed:
    """One layer: its path before and after, whether its buffers stay, and their values at the conversion."""

    before: str
    after: str
    tracks: bool
    buffers: Mapping[str, torch.Tensor]
    by_domain: bool = False


def migration(layers: Sequence[Renamed]) -> Migration:
    """What the new layers do not have is left out on the way there, and given back as it was on the way back."""

    def forward(state: State) -> dict[str, torch.Tensor]:
        new = dict(state)
        for layer in layers:
            for name in _names(new, layer.before):
                value = new.pop(f"{layer.before}.{name}")
                if layer.tracks or layer.by_domain or name not in BUFFERS:
                    new[f"{layer.after}.{name}"] = value
        return new

    def backward(state: State) -> dict[str, torch.Tensor]:
        old = dict(state)
        for layer in layers:
            inner = f"{layer.after}.norms.0" if layer.by_domain else layer.after
            held = {name: old[f"{inner}.{name}"] for name in _names(old, inner)}
            for key in [
                k for k in old if layer.by_domain and k.startswith(f"{layer.after}.norms.")
            ]:
                del old[key]
            for name in held:
                old.pop(f"{layer.after}.{name}", None)
            kept = {k: v.clone() for k, v in layer.buffers.items()} | held
            old.update({f"{layer.before}.{name}": value for name, value in kept.items()})
        return old

    return Migration(forward, backward)


def names_of(model: nn.Module) -> dict[nn.Module, list[str]]:
    """Every name that a module has in the state dict: of one that is held twice there are two, and wrappers add to them."""
    found: dict[nn.Module, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        found.setdefault(module, []).append(name)
    return found


def _names(state: Mapping[str, torch.Tensor], path: str) -> list[str]:
    return [n for n in ("weight", "bias", *BUFFERS) if f"{path}.{n}" in state]
