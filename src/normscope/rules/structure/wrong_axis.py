from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from normscope.finding import Confidence, Finding, Measured, Remedy, Severity
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
    Pool,
    Shift,
    View,
)
from normscope.rule import Faulty, Healthy, rule


@rule("NS105", severity="error", since="0.1.0", explains=("NS504",))
def wrong_axis(graph: Graph) -> Iterator[Finding]:
    r"""BatchNorm takes positions for channels: the features run along another axis.

    ## What it checks
    For each BatchNorm on a tensor of three or more dimensions: along which axes the linear maps and convolutions before it wrote their
    features, followed through reshapes, transpositions and element-wise operations. When the
    norm's channel axis is none of them, its statistics run over the wrong one.

    ## Why it matters
    `nn.Linear` writes features last, (N, L, C); `nn.BatchNorm1d` reads channels second, (N, C, L). Untransposed, each *position* is
    normalized over samples and features together: features keep their different scales, and positions lose
    theirs. PyTorch objects only when L ≠ `num_features`; where both are equal, or where `num_features` was set to L to silence the error, nothing is said.

    ## Example
    ```python
    x = nn.Linear(6, 12)(x)  # (N, 12 steps, 12 features)
    x = nn.BatchNorm1d(12)(x)  # wrong: one mean per step
    x = nn.BatchNorm1d(12)(x.transpose(1, 2)).transpose(1, 2)  # one mean per feature
    ```

    Keras: `BatchNormalization(axis=1)` behind `Dense` or channels-last convolutions, or the default `axis=-1` behind
    `data_format="channels_first"`.

    ## Repair
    Transpose around the norm, or flatten to (N·L, C) before it, or use LayerNorm over the features.

    ## Known limits
    An error only when both axes have the same length; a different length means that somebody chose it, so it is a warning where the axis
    certainly holds positions and an info where a model input may have brought its own channels there. Silent when anything
    unknown lies between the features and the norm, and when a linear map ever mixed along the norm's axis, as in token mixers.

    ## References
    - Ioffe & Szegedy, *Batch Normalization*, 2015, section 3.2. https://arxiv.org/abs/1502.03167
    - https://docs.pytorch.org/docs/stable/generated/torch.nn.BatchNorm1d.html
    - One report of it: https://github.com/ruotianluo/self-critical.pytorch/issues/44
    """
    written = features(graph)
    for node, op in graph.norms():
        source = written.get(node.inputs[0]) if node.inputs else None
        if op.kind != "batch" or source is None or not misplaced(node, op, source):
            continue
        severity, confidence = judge(node, op, source)
        axes = " and ".join(map(str, sorted(source.axes)))
        yield Finding(
            f"`{node.path}` takes axis {op.axis} of {node.shape} for its channels, but `{source.by}` wrote its features along "
            f"axis {axes}: each of the {node.shape[op.axis]} positions is normalized by itself, all features together. "
            "Transpose around the norm.",
            severity=severity,
            confidence=confidence,
            layers=(node.path,),
            site=node.site,
            measured=(
                Measured(
                    "channel axis", op.axis, "axis", low=min(source.axes), high=max(source.axes)
                ),
            ),
            repairs=(
                Remedy(
                    "normalize each feature",
                    "changes-function",
                    "x = norm(x.transpose(1, -1)).transpose(1, -1)",
                ),
            ),
        )


@dataclass(frozen=True, slots=True)
class Features:
    """The axes along which linear maps wrote features so far. `certain`: every other axis holds positions."""

    axes: frozenset[int] = frozenset()
    certain: bool = False
    by: str = ""


def misplaced(node: Node, op: Norm, source: Features) -> bool:
    shape = node.shape
    return (
        len(shape) >= 3
        and bool(source.axes)
        and max(source.axes) < len(shape)
        and op.axis not in source.axes
        and shape[op.axis] > 1  # an axis of length 1 is a signal with one channel
    )


def judge(node: Node, op: Norm, source: Features) -> tuple[Severity, Confidence]:
    if any(node.shape[a] == node.shape[op.axis] for a in source.axes):
        return "error", "high" if source.certain else "medium"
    return ("warning", "medium") if source.certain else ("info", "low")


def features(graph: Graph) -> dict[str, Features]:
    """What is known of each node's result; nothing for a node behind an unknown operation."""
    known: dict[str, Features] = {}
    for node in graph:
        inputs = [known.get(i) for i in node.inputs]
        if (result := result_of(node, inputs, graph)) is not None:
            known[node.id] = result
    return known


def result_of(node: Node, inputs: list[Features | None], graph: Graph) -> Features | None:
    first = inputs[0] if inputs else None
    match node.op:
        case Input():
            return Features()
        case Affine(kind=kind, axis=axis) if first is not None:
            # A convolution slides over all other axes; a linear map says nothing about them.
            certain = first.certain or kind == "conv"
            return Features(first.axes | {axis}, certain, node.path)
        case View(sources=sources) if first is not None:
            moved = {i for i, dims in enumerate(sources) if first.axes & set(dims)}
            return replace(first, axes=frozenset(moved)) if moved or not first.axes else None
        case Activation() | Dropout() | Cast() | Norm() | Shift() | Multiply(constant=True):
            return first
        case Add() | Multiply() | Concat():
            agreed = {(f.axes, f.certain) if f else None for f in inputs}
            return first if len(agreed) == 1 else None
        case Pool(over_all=False) if keeps_rank(graph, node):
            return first
        case _:
            return None


def keeps_rank(graph: Graph, node: Node) -> bool:
    return all(len(n.shape) == len(node.shape) for n in graph.inputs(node))


_TOKENS = "h = linear(x, axis=2, shape=(64, 12, 12)); "

CASES = (
    Faulty(
        "features last, as many as positions",
        ("y",),
        _TOKENS + "y = batch_norm(h, shape=(64, 12, 12))",
        severity="error",
    ),
    Faulty(
        "behind an activation",
        ("y",),
        _TOKENS
        + "a = relu(h, shape=(64, 12, 12)); d = dropout(a); y = batch_norm(d, shape=(64, 12, 12))",
        severity="error",
    ),
    Faulty(
        "second of two linear maps",
        ("y",),
        _TOKENS + "g = linear(h, axis=2); y = batch_norm(g, shape=(64, 12, 12))",
        severity="error",
    ),
    Faulty(
        "patches of a convolution, channels moved last",
        ("y",),
        "c = conv(x, shape=(8, 64, 7, 7)); v = view(c, sources=((0,), (1,), (2, 3))); t = view(v, sources=((0,), (2,), (1,))); "
        "y = batch_norm(t, shape=(8, 49, 64))",
        severity="warning",
    ),
    Faulty(
        "linear map computed on a flattened matrix",
        ("y",),
        "f = view(x, sources=((0, 1), (2,))); h = linear(f, axis=1); v = view(h, sources=((0,), (0,), (1,))); "
        "y = batch_norm(v, shape=(64, 12, 12))",
        severity="error",
    ),
    Faulty(
        "number of positions chosen as number of features",
        ("y",),
        "h = linear(x, axis=2); y = batch_norm(h, shape=(64, 36, 512))",
        severity="info",
    ),
    Healthy(
        "transposed before the norm",
        _TOKENS + "t = view(h, sources=((0,), (2,), (1,))); y = batch_norm(t, shape=(64, 12, 12))",
    ),
    Healthy(
        "flattened to one row per position",
        _TOKENS + "f = view(h, sources=((0, 1), (2,))); y = batch_norm(f, shape=(768, 12))",
    ),
    Healthy("a row of features", "h = linear(x); y = batch_norm(h, shape=(64, 12))"),
    Healthy("convolution", "h = conv(x); y = batch_norm(h, shape=(8, 16, 7, 7))"),
    Healthy("convolution over a sequence", "h = conv(x); y = batch_norm(h, shape=(8, 16, 16))"),
    Healthy(
        "token mixer that writes features along both axes",
        _TOKENS
        + "t = view(h, sources=((0,), (2,), (1,))); m = linear(t, axis=2); u = view(m, sources=((0,), (2,), (1,))); "
        "y = batch_norm(u, shape=(64, 12, 12))",
    ),
    Healthy(
        "linear map over time below channels of a convolution",
        "c = conv(x); h = linear(c, axis=2); y = batch_norm(h, shape=(8, 16, 16))",
    ),
    Healthy("origin unknown", "h = attention(x); y = batch_norm(h, shape=(64, 12, 12))"),
    Healthy(
        "unknown operation in between",
        _TOKENS + "o = attention(h); y = batch_norm(o, shape=(64, 12, 12))",
    ),
    Healthy(
        "unknown operation before the linear map",
        "o = attention(x); h = linear(o, axis=2); y = batch_norm(h, shape=(64, 12, 12))",
    ),
    Healthy("straight from the input", "y = batch_norm(x, shape=(64, 12, 12))"),
    Healthy(
        "split into heads, one of the parts normalized",
        "h = linear(x, axis=2); v = view(h, sources=((0,), (1,), (2,), (2,))); t = view(v, sources=((0,), (2,), (1,), (3,))); y = batch_norm(t, shape=(8, 4, 10, 16))",
    ),
    Healthy(
        "signal with one channel",
        "h = linear(x, axis=1); v = view(h, sources=((0,), (), (1,))); y = batch_norm(v, shape=(8, 1, 32))",
    ),
    Healthy("norm over the last axis", _TOKENS + "y = batch_norm(h, axis=2, shape=(64, 12, 12))"),
    Healthy("layer norm", _TOKENS + "y = layer_norm(h, shape=(64, 12, 12))"),
    Healthy(
        "joined with an unknown branch",
        _TOKENS + "o = attention(x); s = add(h, o); y = batch_norm(s, shape=(64, 12, 12))",
    ),
)
