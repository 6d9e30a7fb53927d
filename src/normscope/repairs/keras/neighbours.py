# pyright: basic
"""Dense and convolution layers of a Keras model whose one reader is a batch norm: pairs that something can be folded in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from normscope.errors import NormscopeError
from normscope.graph.keras import capture, paths_in
from normscope.graph.keras.values import read
from normscope.graph.model import Affine, Graph, Node, Norm
from normscope.probes.keras.asking import untouched
from normscope.record.keras.backends import current
from normscope.record.keras.batches import Kept
from normscope.repairs.certificate import LeftAlone

BATCH, SIDE = 8, 64  # of dimensions that the model leaves open
OUT_LAST = (keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)
DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)


@dataclass(frozen=True, slots=True)
class Pair:
    """A linear map and the norm that alone reads it, along the map's own output channels."""

    affine: Any
    norm: Any
    affine_path: str
    norm_path: str

    def scaled(self, kernel: Any, by: Any) -> Any:
        """The map's kernel with each output channel multiplied."""
        if isinstance(self.affine, TRANSPOSED):
            return kernel * by[:, None]
        if isinstance(self.affine, DEPTHWISE):
            return kernel * by.reshape(kernel.shape[-2:])
        return kernel * by


def pairs(model: Any, batch: Kept | None) -> Iterator[Pair | LeftAlone]:
    """Every linear map followed by nothing but a batch norm; with a reason where something stands in the way.

    Raises NormscopeError where nobody says what the model is called with.
    """
    graph, layers = _graph(model, batch), dict(paths_in(model))
    for node in graph:
        norm = _norm_of(graph, node)
        if norm is None:
            continue
        affine, behind = layers.get(node.path), layers.get(norm.path)
        reason = _unsuitable(graph, node, norm, affine, behind)
        if reason:
            yield LeftAlone(path=node.path, reason=reason)
        else:
            yield Pair(affine, behind, node.path, norm.path)


def _graph(model: Any, batch: Kept | None) -> Graph:
    if batch is not None:
        args, kwargs = batch.args, batch.kwargs
    else:
        args, kwargs = _stand_ins(model), {}
    try:
        with untouched(model, current()):
            return capture(model, args, kwargs, training=True)
    except Exception as error:
        told = " ".join(str(error).split())
        raise NormscopeError(
            f"Calling `{type(model).__name__}` raised {type(error).__name__}: {told[:200]}"
        ) from error


def _stand_ins(model: Any) -> tuple[Any, ...]:
    known = list(getattr(model, "inputs", None) or [])
    if not known:
        raise NormscopeError(
            "This repair follows what flows from layer to layer, so it needs an input: `return {'model': model, 'train': (x, y)}`."
        )
    tensors = [
        keras.KerasTensor(
            tuple(n or (SIDE if i else BATCH) for i, n in enumerate(t.shape)), t.dtype
        )
        for t in known
    ]
    structure = getattr(model, "_inputs_struct", None)
    if isinstance(structure, dict):
        return (dict(zip(structure, tensors, strict=True)),)
    return (tensors,) if isinstance(structure, (list, tuple)) else tuple(tensors)


def _norm_of(graph: Graph, node: Node) -> Node | None:
    if not isinstance(node.op, Affine):
        return None
    match graph.readers(node):
        case [Node(op=Norm(kind="batch", axis=axis)) as norm] if axis == node.op.axis:
            return norm
        case _:
            return None


def _unsuitable(graph: Graph, node: Node, norm: Node, affine: Any, behind: Any) -> str:
    if len(graph.calls(node)) > 1:
        return "it is called more than once"
    if len([n for n in graph.at(norm.path) if isinstance(n.op, Norm)]) > 1:
        return f"the norm behind it (`{norm.path}`) is called more than once"
    if type(affine) not in (*OUT_LAST, *TRANSPOSED, *DEPTHWISE):
        return (
            f"it is a {type(affine).__name__}, which may do more than a Dense or convolution layer"
        )
    if type(behind) is not keras.layers.BatchNormalization:
        return f"the norm behind it is a {type(behind).__name__}, which may do more than BatchNormalization"
    if getattr(behind, "renorm", False):
        return "the norm behind it renormalizes, and keeps more than a mean and a variance"
    if any(getattr(affine, f"{part}_constraint", None) for part in ("kernel", "bias")):
        return "its kernel or bias is constrained"
    return ""


def value(variable: Any) -> Any:
    """On the host, in float64."""
    return read(variable).astype(np.float64)
