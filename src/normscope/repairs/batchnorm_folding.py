# pyright: basic
"""Fold batch norms into the linear maps before them, for inference."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvTransposeNd

from normscope.repairs.certificate import Certificate, LeftAlone
from normscope.repairs.conversion.replacing import replace_everywhere
from normscope.repairs.neighbours import Pair, captured, pairs
from normscope.repairs.repaired import copied, counted, differences, keeps_evaluation

PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
COMPUTED = "its scale is computed from others (a parametrization)"


def fold_batchnorm(model: nn.Module, *inputs: Any, **kwargs: Any) -> tuple[nn.Module, Certificate]:
    """Put every batch norm that alone reads a linear map into that map's weight and bias; exact in evaluation mode.

    With s = γ/√(σ² + ε): s(Wx + b − μ) + β = (sW)x + s(b − μ) + β. Convolutions, transposed and grouped ones too, of any
    number of dimensions, and linear layers. The folded norm becomes an identity; a subclass of batch norm stays, normalizes nothing
    any more, and keeps what else it does (an activation). The copy is in evaluation mode.

    Requires: as for `fold_redundant_bias`, and evaluation with running statistics. Ensures: equal outputs in evaluation mode up to
    rounding. Training it on is another matter: there is no batch norm left.

    Raises NormscopeError when the model cannot be copied or called, and when evaluation would move.
    """
    repaired = copied(model).eval()
    found = list(pairs(repaired, captured(repaired, inputs, kwargs, training=False)))
    left = [p for p in found if isinstance(p, LeftAlone)]
    new: dict[nn.Module, nn.Module] = {}
    for pair in found:
        if isinstance(pair, LeftAlone):
            continue
        if pair.repeat > 1:
            left.append(LeftAlone(path=pair.norm_path, reason="its channels are positions as well"))
            continue
        if pair.norm.weight is not None and "weight" not in pair.norm._parameters:
            left.append(LeftAlone(path=pair.norm_path, reason=COMPUTED))
            continue
        fold(pair)
        new[pair.norm] = _silenced(pair.norm)
    replace_everywhere(repaired, new)
    apart = [d for d in differences(model, repaired, inputs, kwargs) if d.mode == "eval"]
    keeps_evaluation(model, apart)
    gone = {p.norm_path for p in found if isinstance(p, Pair)}
    left += [
        LeftAlone(path=path, reason="no linear map stands alone before it")
        for path, module in repaired.named_modules()
        if isinstance(module, _NormBase) and path not in gone and path not in {x.path for x in left}
    ]
    certificate = Certificate(
        repair="fold-batchnorm",
        kind="exact",
        model=type(model).__name__,
        done=f"folded {len(new)} batch norms into the layers before them, for evaluation",
        left=tuple(left),
        differences=tuple(apart),
        parameters=counted(model, repaired),
        cost="evaluation without the operations of the norms that were folded",
        checkpoints="load old ones into the model before it is folded; the folded weights are other numbers",
    )
    return repaired, certificate


def fold(pair: Pair) -> None:
    """Put the norm of a pair into its map; computed in float64, stored in the map's own dtype."""
    affine, norm = pair.affine, pair.norm
    assert isinstance(norm, _NormBase)
    mean, var = (t.double() for t in (norm.running_mean, norm.running_var) if t is not None)
    scale = (var + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.detach().double()
    shift = -mean * scale
    if norm.bias is not None:
        shift = shift + norm.bias.detach().double()
    weight = affine.weight
    assert isinstance(weight, torch.Tensor)
    wide = weight.detach().double() * _along_outputs(affine, scale, weight)
    bias = shift if affine.bias is None else shift + affine.bias.detach().double() * scale  # pyright: ignore
    trains = weight.requires_grad
    # New parameters: the old ones may be shared with a module that has no norm behind it.
    affine.weight = nn.Parameter(wide.to(weight.dtype), trains)
    affine.bias = nn.Parameter(bias.to(weight.dtype), trains)


def _along_outputs(affine: nn.Module, scale: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The scale in the shape of the weight's output channels.

    A transposed convolution's weight is (inputs, outputs / groups, *): each block of inputs has the outputs of its group.
    """
    space = [1] * (weight.ndim - 2)
    if not isinstance(affine, _ConvTransposeNd):
        return scale.view(-1, 1, *space)
    by_group = scale.view(affine.groups, 1, -1)
    each = weight.shape[0] // affine.groups
    return by_group.expand(-1, each, -1).reshape(weight.shape[0], -1, *space)


def _silenced(norm: nn.Module) -> nn.Module:
    """What stands in the place of a norm that was folded."""
    if type(norm) in PLAIN:
        return nn.Identity()
    assert isinstance(norm, _NormBase)
    with torch.no_grad():
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.zero_()
        norm.running_var.fill_(1.0 - norm.eps)
        if norm.weight is not None:
            norm.weight.fill_(1.0)
        if norm.bias is not None:
            norm.bias.zero_()
    return norm
