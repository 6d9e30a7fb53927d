# pyright: basic
"""Whether a layer computes W x + b with the very W and b that it holds; told by what it computes, not by its class."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from normscope.probes.untouched import untouched

PLAIN = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
SAMPLES = 2
# Of the largest output: half precision rounds to 0.004 of it, and a standardized weight halves the output.
CLOSE = 0.05


def is_linear(layer: nn.Linear | _ConvNd) -> bool:
    """With 2 W and 2 b + 1 in the place of W and b its output must be 2 y + 1: a weight that is standardized first gives another."""
    if type(layer) in PLAIN:
        return True
    weight, bias = layer.weight.detach(), layer.bias
    with untouched(layer):
        x = _example(layer).to(weight)
        held = [(t, t.detach().clone()) for t in (weight, bias) if t is not None]
        try:
            y = layer(x)
            weight.mul_(2)
            if bias is not None:
                bias.mul_(2).add_(1)
            twice = layer(x)
        except (RuntimeError, ValueError, TypeError):
            return False  # it wants more than one tensor, or another shape
        finally:
            for tensor, value in held:
                tensor.copy_(value)
    if not isinstance(y, torch.Tensor) or not isinstance(twice, torch.Tensor):
        return False
    apart = (twice - 2 * y - float(bias is not None)).abs().amax()
    return bool(apart <= CLOSE * y.abs().amax())


def _example(layer: nn.Linear | _ConvNd) -> torch.Tensor:
    """An input that the kernel fits into."""
    generator = torch.Generator().manual_seed(0)
    if isinstance(layer, nn.Linear):
        return torch.randn(SAMPLES, layer.in_features, generator=generator)
    sides = [2 * (k - 1) * d + 3 for k, d in zip(layer.kernel_size, layer.dilation, strict=True)]
    return torch.randn(SAMPLES, layer.in_channels, *sides, generator=generator)
