"""A graph from a one-line drawing, for rule cases: `a = conv(x, bias=64); y = batch_norm(a)`."""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import partial
from typing import Any

from normscope.graph.model import (
    Activation,
    Add,
    Affine,
    Cast,
    Concat,
    Dropout,
    Graph,
    Input,
    Multiply,
    Node,
    Norm,
    Op,
    Opaque,
    Output,
    Pool,
    Shift,
    View,
)

_OPS: dict[str, Callable[..., Op]] = {
    "conv": partial(Affine, "conv"),
    "linear": partial(Affine, "linear"),
    "batch_norm": partial(Norm, "batch"),
    "group_norm": partial(Norm, "group"),
    "instance_norm": partial(Norm, "instance"),
    "layer_norm": partial(Norm, "layer"),
    "rms_norm": partial(Norm, "rms"),
    "dropout": partial(Dropout, rate=0.5),
    "add": Add,
    "multiply": Multiply,
    "shift": Shift,
    "pool": partial(Pool, "avg"),
    "max_pool": partial(Pool, "max"),
    "concat": Concat,
    "cast": Cast,
    "view": View,
    "output": Output,
    **{name: partial(Activation, name) for name in ("relu", "gelu", "silu", "sigmoid", "tanh")},
}


def sketch(source: str, *, training: bool = True) -> Graph:
    """Build a graph from `name = op(inputs, attr=value)` statements.

    Names that no statement defines are inputs of the model. `path=`, `shape=` and `weights=` set the node's own fields, anything else the
    operation's; an operation that is not known becomes `Opaque`.
    """
    nodes: dict[str, Node] = {}
    for statement in ast.parse(source).body:
        match statement:
            case ast.Assign(targets=[ast.Name(name)], value=ast.Call(ast.Name(op), args, kwargs)):
                words: dict[str, Any] = {k.arg or "": ast.literal_eval(k.value) for k in kwargs}
                inputs = tuple(a.id for a in args if isinstance(a, ast.Name))
                for i in inputs:
                    nodes.setdefault(i, Node(i, Input()))
                path: str = words.pop("path", name)
                shape: tuple[int, ...] = words.pop("shape", ())
                weights: str = words.pop("weights", "")
                build = _OPS.get(op, partial(Opaque, op))
                nodes[name] = Node(name, build(**words), inputs, path, None, shape, weights)
            case _:
                raise ValueError(
                    f"A sketch is `name = op(inputs, attr=value)`; got `{ast.unparse(statement)}`."
                )
    return Graph(nodes.values(), training=training)
