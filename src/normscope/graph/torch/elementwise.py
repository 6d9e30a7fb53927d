"""Reading element-wise operations: nonlinearities, dropout, sums and products."""
# pyright: basic

from __future__ import annotations

from typing import Any

import torch

from normscope.graph.model import Activation, Add, Dropout, Multiply, Opaque, Shift
from normscope.graph.torch.norms import zero_share
from normscope.graph.torch.operation import Operation, Typed, shape_of

ACTIVATIONS = {
    **{
        name: name
        for name in [
            "relu",
            "relu6",
            "hardtanh",
            "gelu",
            "silu",
            "mish",
            "sigmoid",
            "tanh",
            "leaky_relu",
            "elu",
            "selu",
            "celu",
            "hardswish",
            "hardsigmoid",
            "softplus",
            "threshold",
            "prelu",
            "rrelu",
            "clamp",
            "clamp_min",
            "clamp_max",
            "hardshrink",
            "softshrink",
            "log_sigmoid",
        ]
    },
    "_prelu_kernel": "prelu",
    "rrelu_with_noise": "rrelu",
    "log_sigmoid_forward": "log_sigmoid",
}


def activation(op: Operation) -> Typed:
    return Typed(Activation(ACTIVATIONS[op.name]), (op.first("self", "input"),))


def dropout(op: Operation) -> Typed:
    active = op.first("train", "training")
    return Typed(Dropout(float(op["p"]), active=active is not False), (op["input"],))


def addition(op: Operation) -> Typed:
    a, b = op["self"], op["other"]
    if op.value(a) and op.value(b):
        return Typed(Add(), (a, b))
    reads, constant = (a, b) if op.value(a) else (b, a)
    return Typed(Shift(), (reads,), constant_facts(op, constant))


def multiplication(op: Operation) -> Typed:
    a, b = op["self"], op["other"]
    if op.value(a) and op.value(b):
        return Typed(Multiply(), (a, b))
    reads, constant = (a, b) if op.value(a) else (b, a)
    if isinstance(constant, torch.Tensor) and (keep := op.mask(constant)) is not None:
        return Typed(Dropout(round(1 - keep, 9)), (reads,))
    facts = constant_facts(op, constant)
    if facts.get("weight"):
        facts["zero_scale"] = zero_share(constant)
    return Typed(Multiply(constant=True), (reads,), facts)


def division(op: Operation) -> Typed:
    if not op.value(op["self"]):
        return Typed(Opaque(op.name), (op["other"],))  # 1 / x is no product
    return multiplication(op)


def negation(op: Operation) -> Typed:
    return Typed(Multiply(constant=True), (op["self"],))


def power(op: Operation) -> Typed:
    return Typed(Opaque(op.name), (op["self"],), {"exponent": op["exponent"]})


def constant_facts(op: Operation, constant: Any) -> dict[str, Any]:
    if isinstance(constant, torch.Tensor):
        return {"constant": shape_of(constant), "weight": op.is_weight(constant)}
    return {"number": constant}


READERS = {
    **dict.fromkeys(ACTIVATIONS, activation),
    **dict.fromkeys(("dropout", "native_dropout", "feature_dropout"), dropout),
    **dict.fromkeys(("add", "sub", "rsub"), addition),
    "mul": multiplication,
    "div": division,
    "neg": negation,
    "pow": power,
}
