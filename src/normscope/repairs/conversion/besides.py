# pyright: basic
"""What a subclass of batch norm does besides: nothing, or what its own submodules do to the normalized values."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.errors import NormscopeError
from normscope.nn.layer import BatchNormLayer
from normscope.probes.untouched import untouched

KNOWN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
SAMPLES = 4


def besides(norm: _BatchNorm) -> tuple[tuple[str, nn.Module], ...]:
    """The submodules that `norm` applies to its normalized values, in order; told by what it computes, not by its class.

    Raises NormscopeError for a layer whose evaluation is neither batch norm nor that.
    """
    if type(norm) in KNOWN or isinstance(norm, BatchNormLayer):
        return ()
    children = [(n, m) for n, m in norm.named_children() if not isinstance(m, _BatchNorm)]
    with untouched(norm):
        for module in norm.modules():
            module.training = False
        for dims in (4, 3, 2, 5):
            x = _example(norm, dims)
            try:
                out = norm(x.clone())
            except (ValueError, RuntimeError):
                continue  # not of so many dimensions
            plain = F.batch_norm(
                x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
            )
            if _equal(out, plain):
                return ()
            for _, module in children:
                plain = module(plain)
            if children and _equal(out, plain):
                return tuple(children)
            break
    raise NormscopeError(
        f"`{type(norm).__name__}` computes more than batch norm, and what is not understood"
    )


def _example(norm: _BatchNorm, dims: int) -> torch.Tensor:
    like = norm.running_mean if norm.running_mean is not None else next(norm.parameters())
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(SAMPLES, norm.num_features, *[3] * (dims - 2), generator=generator)
    return x.to(like)


def _equal(one: object, two: torch.Tensor) -> bool:
    return (
        isinstance(one, torch.Tensor)
        and one.shape == two.shape
        and torch.allclose(one, two, rtol=1e-4, atol=1e-5)
    )
