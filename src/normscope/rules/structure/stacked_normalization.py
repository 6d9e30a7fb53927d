from __future__ import annotations

from collections.abc import Iterator

from normscope.finding import Finding, Measured, Remedy
from normscope.graph.model import Graph, Node, Norm, View
from normscope.rule import Faulty, Healthy, rule


@rule("NS108", severity="info", since="0.1.0")
def stacked_normalization(graph: Graph) -> Iterator[Finding]:
    r"""A norm reads nothing but the result of another norm.

    ## What it checks
    Two normalizations with nothing between them: the first has no other reader, and the second reads it as it is (casts and
    reordered dimensions are looked through).

    ## Why it matters
    The first norm has just set the statistics that the second measures. For two batch norms the second finds mean β and variance
    γ² in every channel and puts its own in their place: the first one's scale and shift do nothing but choose a
    sign, and both cost a pass over the activations. Two norms of different kinds undo part of each other's work. It is seldom meant:
    it comes from joining blocks that begin and end with a norm. Nothing was measured to train worse for it: an info.

    ## Example
    ```python
    nn.Sequential(nn.Linear(8, 64), nn.BatchNorm1d(64), nn.BatchNorm1d(64))  # NS108: two in a row
    nn.Sequential(nn.Linear(8, 64), nn.BatchNorm1d(64), nn.ReLU())  # one is enough
    ```

    ## Repair
    Remove one of the two. Of two batch norms in a row keep the second: its statistics are those that evaluation ends with.
    The function changes by rounding and by the scale of the removed one: train again, or compare before and after.

    ## Known limits
    Silent when the first norm's result has another reader (a norm in front of a branch, two norms side by side as in IBN-Net), when anything but a cast
    or a permutation lies between (a flattened map is normalized in other groups), and when either uses stored
    statistics: a frozen norm is a constant map.

    ## References
    - Ioffe & Szegedy, *Batch Normalization*, 2015, section 3. https://arxiv.org/abs/1502.03167
    - Xiong et al., *On Layer Normalization in the Transformer Architecture*, 2020, section 3.2 (where a final norm belongs).
      https://arxiv.org/abs/2002.04745
    """
    pairs = [(first, n) for n, _ in graph.norms() if (first := normed_already(graph, n))]
    if not pairs:
        return
    first, second = pairs[0]
    more = f" (and {len(pairs) - 1} more such pairs)" if len(pairs) > 1 else ""
    yield Finding(
        f"`{second.path}` normalizes what `{first.path}` has just normalized{more}: there are 0 operations between them. "
        "One of the two is enough.",
        layers=tuple(dict.fromkeys(second.path for _, second in pairs)),
        site=second.site,
        measured=(Measured("norms that read nothing but a norm", len(pairs), "layers", high=0),),
        repairs=(
            Remedy(
                "remove one", "changes-function", f"leave out `{first.path}` where it is called"
            ),
        ),
    )


def normed_already(graph: Graph, node: Node) -> Node | None:
    """The norm whose result `node` alone reads, unchanged; None when there is none."""
    if not measures(node):
        return None
    while True:
        above = graph.producer(node)
        if above is None or len(graph.readers(above)) != 1:
            return None
        if measures(above):
            return above
        if not permutes(above):
            return None
        node = above


def measures(node: Node) -> bool:
    """Whether `node` is a norm that takes its statistics from its input."""
    return isinstance(node.op, Norm) and node.op.batch_stats


def permutes(node: Node) -> bool:
    """Whether `node` only reorders dimensions."""
    if not isinstance(node.op, View) or not node.op.sources:
        return False
    dims = [d for dims in node.op.sources for d in dims]
    return all(len(dims) == 1 for dims in node.op.sources) and len(set(dims)) == len(dims)


CASES = (
    Faulty(
        "two batch norms",
        ("b",),
        "a = linear(x); n = batch_norm(a); b = batch_norm(n); y = relu(b)",
    ),
    Faulty(
        "layer norm after batch norm", ("b",), "n = batch_norm(x); b = layer_norm(n); y = linear(b)"
    ),
    Faulty(
        "final norm of a post-norm transformer",
        ("b",),
        "a = linear(x); s = add(x, a); n = layer_norm(s); b = layer_norm(n); y = linear(b)",
    ),
    Faulty("under autocast", ("b",), "n = batch_norm(x); c = cast(n); b = batch_norm(c)"),
    Faulty(
        "features moved to the last axis",
        ("b",),
        "n = batch_norm(x); v = view(n, sources=((0,), (2,), (1,))); b = layer_norm(v)",
    ),
    Faulty(
        "three in a row, one finding",
        ("b", "c"),
        "a = batch_norm(x); b = batch_norm(a); c = batch_norm(b); y = relu(c)",
    ),
    Healthy("one", "a = linear(x); n = batch_norm(a); y = relu(n)"),
    Healthy("activation in between", "n = batch_norm(x); r = relu(n); b = batch_norm(r)"),
    Healthy("weights in between", "n = layer_norm(x); a = linear(n); b = layer_norm(a)"),
    Healthy(
        "norm in front of a branch",
        "n = layer_norm(x); b = layer_norm(n); a = linear(b); y = add(n, a)",
    ),
    Healthy("side by side", "n = instance_norm(x); b = batch_norm(x); y = concat(n, b)"),
    Healthy(
        "flattened map, other groups",
        "n = batch_norm(x); v = view(n, sources=((0,), (1, 2, 3))); b = batch_norm(v)",
    ),
    Healthy(
        "an expanded dimension",
        "n = batch_norm(x); v = view(n, sources=((0,), (1,), (1,))); b = layer_norm(v)",
    ),
    Healthy("unknown view", "n = batch_norm(x); v = view(n); b = batch_norm(v)"),
    Healthy(
        "pooling in between", "n = batch_norm(x); p = pool(n, over_all=True); b = batch_norm(p)"
    ),
    Healthy("dropout in between", "n = batch_norm(x); d = dropout(n); b = batch_norm(d)"),
    Healthy("frozen input norm", "n = batch_norm(x, batch_stats=False); b = batch_norm(n)"),
    Healthy("second frozen", "n = batch_norm(x); b = batch_norm(n, batch_stats=False)"),
    Healthy(
        "unknown operation in between", "n = batch_norm(x); f = frobnicate(n); b = batch_norm(f)"
    ),
)
