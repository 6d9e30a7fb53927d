# pyright: basic
"""New layers brought to the output scale of the old ones, by data: each channel's mean and deviation stay what they were."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from normscope.probes.population import Moments
from normscope.probes.replay import set_mode, to_device
from normscope.probes.untouched import untouched

Call = tuple[Sequence[Any], Mapping[str, Any]]
LEAST = 1e-6  # of a deviation: below it a channel is constant, and its scale is left as it is


def output_moments(
    model: nn.Module, layers: Mapping[str, nn.Module], call: Call
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Mean and standard deviation over samples and positions of each layer's output channels, in evaluation mode."""
    found: dict[str, Moments] = {}

    def note(path: str) -> Any:
        def hook(_: nn.Module, __: Any, out: torch.Tensor) -> None:
            here = Moments.of(out)
            found[path] = found[path] + here if path in found else here

        return hook

    with untouched(model), _hooked({layers[p]: note(p) for p in layers}):
        set_mode(model)
        _run(model, call)
    return {p: (m.mean, m.var.sqrt()) for p, m in found.items()}


def calibrate(
    model: nn.Module,
    layers: Mapping[str, nn.Module],
    wanted: Mapping[str, tuple[torch.Tensor, torch.Tensor]],
    call: Call,
) -> list[str]:
    """Set γ and β of the layers so that their output channels have the wanted mean and deviation; the paths that were set.

    One pass suffices: each layer is set when it is reached, and hands on its new output.
    """
    found: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def fit(path: str) -> Any:
        def hook(layer: Any, _: Any, out: torch.Tensor) -> torch.Tensor:
            if path in found or path not in wanted:
                return out
            has = Moments.of(out)
            mean, sd = wanted[path]
            spread = has.var.sqrt()
            factor = torch.where(spread > LEAST, sd / spread.clamp_min(LEAST), 1.0)
            weight = layer.weight.detach().double() * factor.to(layer.weight.device)
            bias = mean + (layer.bias.detach().double().cpu() - has.mean.cpu()) * factor.cpu()
            found[path] = weight, bias
            view = (1, -1, *[1] * (out.ndim - 2))
            scale = factor.to(out).view(view)
            shift = (mean.cpu() - has.mean.cpu() * factor.cpu()).to(out).view(view)
            return out * scale + shift

        return hook

    chosen = {
        p: m
        for p, m in layers.items()
        if getattr(m, "weight", None) is not None and getattr(m, "bias", None) is not None
    }
    with untouched(model), _hooked({m: fit(p) for p, m in chosen.items()}):
        set_mode(model)
        _run(model, call)
    with torch.no_grad():
        for path, (weight, bias) in found.items():
            chosen[path].weight.copy_(weight)  # pyright: ignore
            chosen[path].bias.copy_(bias)  # pyright: ignore
    return list(found)


def _run(model: nn.Module, call: Call) -> None:
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    model(
        *(to_device(a, device) for a in call[0]),
        **{k: to_device(v, device) for k, v in call[1].items()},
    )


@contextmanager
def _hooked(hooks: Mapping[nn.Module, Any]) -> Iterator[None]:
    # Before hooks of the user's own, which may change the output.
    handles = [m.register_forward_hook(hook, prepend=True) for m, hook in hooks.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
