"""Inputs of every layout, the layers under test, and comparisons of two layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor, nn

import normscope

quick = settings(max_examples=25, deadline=None, derandomize=True)
EXACT = {"rtol": 1e-9, "atol": 1e-9}  # float64, up to rounding
NATIVE = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}

LAYERS: dict[str, Callable[..., nn.Module]] = {
    "BatchNorm": normscope.nn.BatchNorm,
    "BatchRenorm": normscope.nn.BatchRenorm,
    "GhostBatchNorm": lambda c, **words: normscope.nn.GhostBatchNorm(c, 3, **words),
    "FrozenBatchNorm": normscope.nn.FrozenBatchNorm,
    "MaskedBatchNorm": normscope.nn.MaskedBatchNorm,
    "DomainBatchNorm": normscope.nn.DomainBatchNorm,
}


@st.composite
def inputs(draw: st.DrawFn, least: int = 2, most: int = 7, channels: int | None = None) -> Tensor:
    """(N, C), (N, C, L), (N, C, H, W) in either memory format, or (N, C, D, H, W); float64, off centre."""
    n = draw(st.integers(least, most))
    c = channels or draw(st.integers(1, 4))
    space = draw(st.lists(st.integers(1, 3), max_size=3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    x = torch.randn(n, c, *space, generator=generator, dtype=torch.float64)
    x = x * draw(st.sampled_from([0.01, 1.0, 30.0])) + draw(st.sampled_from([0.0, 1.0, -20.0]))
    if x.ndim == 4 and draw(st.booleans()):
        x = x.contiguous(memory_format=torch.channels_last)
    return x


class Words(NamedTuple):
    eps: float
    momentum: float | None
    affine: bool
    track_running_stats: bool


words = st.builds(
    Words,
    eps=st.sampled_from([1e-5, 1e-3]),
    momentum=st.sampled_from([0.1, 0.7, 1.0, None]),
    affine=st.booleans(),
    track_running_stats=st.booleans(),
)


def native(x: Tensor, **options: Any) -> nn.Module:
    """PyTorch's batch norm for inputs like `x`, with parameters and statistics that are not the initial ones."""
    return scrambled(NATIVE[x.ndim](x.shape[1], dtype=x.dtype, **options))


def scrambled(norm: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, t in norm.state_dict().items():
            if t.is_floating_point():
                t.copy_(torch.rand(t.shape, generator=generator) + 0.5 * ("var" in name))
    return norm


def copied(norm: nn.Module, source: nn.Module) -> nn.Module:
    norm.load_state_dict(source.state_dict())
    return norm.train(source.training)


def response(
    norm: nn.Module, x: Tensor, *args: Any, **words: Any
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Output, gradient of x, and gradients of parameters and values of buffers by name; a fixed random loss."""
    norm.zero_grad()
    x = x.detach().clone().requires_grad_()
    y = norm(x, *args, **words)
    generator = torch.Generator().manual_seed(2)
    y.backward(torch.randn(y.shape, generator=generator, dtype=torch.float64).to(y.dtype))
    assert x.grad is not None
    state = {k: p.grad for k, p in norm.named_parameters() if p.grad is not None}
    return y.detach(), x.grad, {**state, **{k: b.clone() for k, b in norm.named_buffers()}}


def assert_alike(left: Any, right: Any, **bounds: float) -> None:
    for a, b in zip(left[:2], right[:2], strict=True):
        torch.testing.assert_close(a, b, **bounds)
    assert left[2].keys() == right[2].keys()
    for name in left[2]:
        torch.testing.assert_close(left[2][name], right[2][name], **bounds)
