"""Reading convolutions and matrix products: linear in the activation when the other factor is a constant."""
# pyright: basic

from __future__ import annotations

from typing import Any

import torch

from normscope.graph.model import Affine
from normscope.graph.torch.operation import Operation, Typed


def convolution(op: Operation) -> Typed | None:
    if op.value(op["weight"]):
        return None  # the kernel is itself computed from activations
    return Typed(
        Affine("conv", bias=_numel(op["bias"])), (op["input"], op["bias"]), _facts(op, op["weight"])
    )


def linear(op: Operation) -> Typed | None:
    if op.value(op["weight"]):
        return None
    return Typed(
        Affine("linear", bias=_numel(op["bias"]), axis=op.results[0].ndim - 1),
        (op["input"], op["bias"]),
        _facts(op, op["weight"]),
    )


def product(op: Operation) -> Typed | None:
    """`mm`, `bmm`, `matmul`. `x W` maps the last dimension, `W x` the one before it.

    A constant that is no weight (an adjacency matrix, say) from the left may mix samples: that is no linear layer.
    """
    return _product(op, op.first("self", "input", "tensor"), op.first("mat2", "other", "vec"), 0)


def biased_product(op: Operation) -> Typed | None:
    bias = op.first("self", "input")
    if op.value(bias):
        return None
    return _product(op, op.first("mat1", "batch1"), op.first("mat2", "batch2", "vec"), _numel(bias))


def _product(op: Operation, left: Any, right: Any, bias: int) -> Typed | None:
    last = op.results[0].ndim - 1
    if op.value(left) and not op.value(right) and right.ndim > 1:
        return Typed(Affine("linear", bias=bias, axis=last), (left,), _facts(op, right))
    if op.value(right) and not op.value(left) and op.is_weight(left) and left.ndim > 1:
        return Typed(Affine("linear", bias=bias, axis=max(last - 1, 0)), (right,), _facts(op, left))
    return None


def _facts(op: Operation, weights: torch.Tensor) -> dict[str, Any]:
    return {"weights": op.parameter(weights)}


def _numel(bias: Any) -> int:
    return 0 if bias is None else int(bias.numel())


READERS = {
    **dict.fromkeys(
        (
            "convolution",
            "_convolution",
            "convolution_overrideable",
            "conv1d",
            "conv2d",
            "conv3d",
            "conv_transpose1d",
            "conv_transpose2d",
            "conv_transpose3d",
            "mkldnn_convolution",
            "cudnn_convolution",
        ),
        convolution,
    ),
    "linear": linear,
    **dict.fromkeys(("mm", "bmm", "matmul"), product),
    **dict.fromkeys(("addmm", "baddbmm"), biased_product),
}
