# pyright: basic
"""Linear maps whose one reader is a batch norm: the pairs that a bias or a whole norm can be folded in."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from normscope.errors import NormscopeError
from normscope.graph.model import Affine, Graph, Node, Norm, View
from normscope.graph.torch import capture
from normscope.repairs.certificate import LeftAlone
from normscope.repairs.linearity import is_linear


@dataclass(frozen=True, slots=True)
class Pair:
    """`repeat` values of the norm in a row belong to one output channel of the map: 1, or the positions that were flattened."""

    affine: nn.Module
    norm: nn.Module
    affine_path: str
    norm_path: str
    repeat: int = 1


def captured(
    model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], *, training: bool
) -> Graph:
    """The graph in that mode; modes as before afterwards. Raises NormscopeError where the forward pass raises."""
    if not args and not kwargs:
        raise NormscopeError(
            "This repair follows what flows from layer to layer, so it needs an input: `repair(model, x)`, or `train` in the setup."
        )
    modes = [(m, m.training) for m in model.modules()]
    try:
        for module, _ in modes:
            module.training = training
        with _as_written():
            return capture(model, args, kwargs)
    except Exception as error:
        told = " ".join(str(error).split())
        raise NormscopeError(
            f"Calling `{type(model).__name__}` raised {type(error).__name__}: {told}"
        ) from error
    finally:
        for module, mode in modes:
            module.training = mode


def _as_written() -> AbstractContextManager[Any]:
    """What `torch.compile` made would call no hooks."""
    if "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance"):
        return torch.compiler.set_stance("force_eager")
    return nullcontext()


def pairs(model: nn.Module, graph: Graph) -> Iterator[Pair | LeftAlone]:
    """Every linear map followed by nothing but a batch norm; with a reason where modules stand in the way."""
    for node in graph:
        if isinstance(node.op, Affine) and (found := _norm_of(graph, node)) is not None:
            norm, repeat = found
            reason = _unsuitable(model, graph, node, norm)
            if reason:
                yield LeftAlone(path=node.path, reason=reason)
            else:
                yield Pair(
                    model.get_submodule(node.path),
                    model.get_submodule(norm.path),
                    node.path,
                    norm.path,
                    repeat,
                )


def _norm_of(graph: Graph, node: Node) -> tuple[Node, int] | None:
    """The norm that alone reads the map's output along the map's own channels, and how often it repeats each."""
    assert isinstance(node.op, Affine)
    axis, current, repeat = node.op.axis, node, 1
    while True:
        match graph.readers(current):
            case [Node(op=View(sources=sources)) as view]:
                moved = [i for i, dims in enumerate(sources) if axis in dims]
                if len(moved) != 1 or sources[moved[0]][0] != axis:
                    return None
                axis = moved[0]
                # Flattened positions follow their channel, so that each of its values stands in a row of equal ones.
                repeat *= max(1, _positions(current, sources[moved[0]]))
                current = view
            case [Node(op=Norm(kind="batch", axis=a)) as norm] if a == axis:
                return norm, repeat
            case _:
                return None


def _positions(node: Node, dims: Sequence[int]) -> int:
    count = 1
    for d in dims[1:]:
        count *= node.shape[d]
    return count


def _unsuitable(model: nn.Module, graph: Graph, node: Node, norm: Node) -> str:
    if len(graph.calls(node)) > 1:
        return "it is called more than once"
    if len([n for n in graph.at(norm.path) if isinstance(n.op, Norm)]) > 1:
        return f"the norm behind it (`{norm.path}`) is called more than once"
    affine, batch_norm = (_module(model, n.path) for n in (node, norm))
    if not isinstance(affine, (nn.Linear, _ConvNd)):
        return "it is no linear or convolution module: a function, or a class of its own"
    if "weight" not in affine._parameters:
        return "its weight is computed from others (a parametrization)"
    if "bias" not in affine._parameters:
        return "its bias is computed from others (a parametrization)"
    if not is_linear(affine):
        return (
            f"`{type(affine).__name__}` computes something else from its weight than a linear map"
        )
    if not isinstance(batch_norm, _NormBase):
        return f"the norm behind it (`{norm.path}`) is no module of PyTorch's kind"
    if not isinstance(batch_norm.running_mean, torch.Tensor):
        return f"the norm behind it (`{norm.path}`) keeps no running statistics"
    return ""


def _module(model: nn.Module, path: str) -> nn.Module | None:
    try:
        return model.get_submodule(path)
    except AttributeError:
        return None  # kept in a plain list: reachable by the forward pass, not by name
