from __future__ import annotations

from collections.abc import Iterable, Iterator

from normscope.concepts.paths import flood, longest
from normscope.finding import Finding, Measured, Remedy
from normscope.graph.model import (
    Activation,
    Add,
    Cast,
    Dropout,
    Graph,
    Multiply,
    Node,
    Norm,
    Pool,
    Shift,
    View,
)
from normscope.rule import Faulty, Healthy, rule

MANY = 32  # batch norms in a row on the skip path; 28 cost nothing, 40 did, 54 doubled the error of a trained network


@rule("NS103", severity="error", since="0.1.0", explains=("NS104", "NS408", "NS504", "NS601"))
def batchnorm_on_skip_path(graph: Graph) -> Iterator[Finding]:
    """Batch norms stand on the skip path itself, after the additions.

    ## What it checks
    Batch norms that are the only reader of a sum, seen through activations, and whose result reaches the next sum of
    the same signal without passing a weight. They are counted along the path that holds most of them: 32 and more are a
    warning, fewer are silent: published networks hold up to 27.

    ## Why it matters
    A skip connection lets signal and gradient pass unchanged. A norm after the addition rescales both in every block: the
    sum has about twice the variance of the skip, so that what came from the input fades by a factor near √2 a block. CIFAR-10 error: with
    20 layers 8.29 % (norm before the addition) and 8.34 % (after), with 110 layers 6.97 % and 13.56 %; ImageNet at 18, 34 and 50
    layers: no difference. Digits, residual MLP, test accuracy before and after: 16 blocks 0.935 and 0.945 (noise 0.04), 20 blocks
    0.937 and 0.907, 28 blocks 0.882 and 0.872, 40 blocks 0.887 and 0.559.

    ## Example
    ```python
    x = relu(bn2(x + conv2(relu(bn1(conv1(x))))))  # NS103, if 32 blocks do so
    x = relu(x + bn2(conv2(relu(bn1(conv1(x))))))  # the skip path holds no norm
    ```

    ## Repair
    The norm at the end of the branch, before the addition; or in front of the branch (pre-activation). Both change the function: train again.

    ## Known limits
    Silent when the unnormalized sum has another reader (pre-activation, RepVGG's identity branch), when a weight lies
    between two sums (projection shortcuts), for concatenation (DenseNet), for LayerNorm (post-norm transformers), for norms that use stored statistics,
    and below 32: up to 28 it costs nothing that could be measured. An unknown operation on the path ends it. A warning, unless it explains an error that was
    measured.

    ## References
    - He et al., *Identity Mappings in Deep Residual Networks*, 2016, section 4.1. https://arxiv.org/abs/1603.05027
    - Gross & Wilber, *Training and investigating Residual Nets*, 2016, "Effect of batch norm position".
      http://torch.ch/blog/2016/02/04/resnets.html
    """
    found = longest(graph, {n.id for n in graph if carries_the_skip(graph, n)})
    if len(found) < MANY:
        return
    first = found[0]
    yield Finding(
        f"The skip path runs through {len(found)} batch norms, from `{first.path}` to `{found[-1].path}`, because each stands "
        f"after its addition: signal and gradient are rescaled in every block. Up to 28 that costs nothing; with 54 it doubled the "
        "error of a residual network. Normalize the branch before the addition.",
        severity="warning",
        confidence="medium",
        layers=tuple(dict.fromkeys(n.path for n in found)),
        site=first.site,
        measured=(Measured("batch norms on the skip path", len(found), "layers", high=MANY - 1),),
        repairs=(
            Remedy(
                "normalize the branch",
                "changes-function",
                "`x + norm(branch(x))`, not `norm(x + branch(x))`",
            ),
        ),
    )


def carries_the_skip(graph: Graph, node: Node) -> bool:
    """Whether `node` is a batch norm that alone reads a sum and hands it, without a weight, to a later sum of the same signal."""
    return (
        isinstance(node.op, Norm)
        and node.op.kind == "batch"
        and node.op.batch_stats
        and reads_a_sum_alone(graph, node)
        and is_skipped_over(graph, node)
    )


def reads_a_sum_alone(graph: Graph, node: Node) -> bool:
    while True:
        above = graph.producer(node)
        if above is None or len(graph.readers(above)) != 1:
            return False
        if isinstance(above.op, Add):
            return True
        if not isinstance(above.op, (Activation, View, Dropout)):
            return False
        node = above


def is_skipped_over(graph: Graph, node: Node) -> bool:
    """Whether `node`'s result reaches a sum without a weight, and that sum's other term depends on it too."""
    open_, seen = [node], {node.id}
    sums: list[Node] = []
    while open_:
        for reader in graph.readers(open_.pop()):
            if reader.id in seen:
                continue
            seen.add(reader.id)
            if isinstance(reader.op, Add):
                sums.append(reader)
            elif weightless(reader):
                open_.append(reader)
    if not sums:
        return False
    below = flood([node], graph.readers)
    return any(sum(i in below for i in s.inputs) > 1 for s in sums)


def weightless(node: Node) -> bool:
    match node.op:
        case Multiply(constant=constant):
            return constant
        case Activation() | Cast() | Dropout() | Norm() | Pool() | Shift() | View():
            return True
        case _:
            return False


_BLOCK = {
    "after": "c@ = conv(x@); s@ = add(x@, c@); b@ = batch_norm(s@); x# = relu(b@)",
    "activated": "c@ = linear(x@); s@ = add(x@, c@); r@ = relu(s@); x# = batch_norm(r@, path='b@')",
    "before": "c@ = conv(x@); b@ = batch_norm(c@); s@ = add(x@, b@); x# = relu(s@)",
    "pre": "b@ = batch_norm(x@); r@ = relu(b@); c@ = conv(r@); x# = add(x@, c@)",
    "rep": "c@ = conv(x@); b@ = batch_norm(x@); s@ = add(b@, c@); x# = relu(s@)",
    "projection": "c@ = conv(x@); p@ = conv(x@); s@ = add(p@, c@); b@ = batch_norm(s@); x# = relu(b@)",
    "dense": "c@ = conv(x@); s@ = concat(x@, c@); x# = batch_norm(s@, path='b@')",
    "unknown": "c@ = conv(x@); s@ = add(x@, c@); b@ = batch_norm(s@); x# = frobnicate(b@)",
    "frozen": "c@ = conv(x@); s@ = add(x@, c@); x# = batch_norm(s@, batch_stats=False)",
    "layer": "c@ = linear(x@); s@ = add(x@, c@); x# = layer_norm(s@)",
}


def _net(*kinds: str) -> str:
    """A chain of blocks: block k leads from the value xk to the value x(k + 1)."""
    blocks = (
        _BLOCK[kind].replace("@", str(k)).replace("#", str(k + 1)) for k, kind in enumerate(kinds)
    )
    return "; ".join(("x0 = conv(x)", *blocks))


def _named(numbers: Iterable[int]) -> tuple[str, ...]:
    return tuple(f"b{k}" for k in numbers)


# The norm of the last block feeds no further sum, and so is none of those that are counted.
CASES = (
    Faulty("thirty-two on the path", _named(range(32)), _net(*["after"] * 33), severity="warning"),
    Faulty("activation before the norm", _named(range(36)), _net(*["activated"] * 37)),
    Faulty(
        "with projections between stages",
        _named(k for k in range(39) if k % 10 != 8),
        _net(*(["after"] * 9 + ["projection"]) * 4),
    ),
    Healthy("thirty-one on the path", _net(*["after"] * 32)),
    Healthy("norm before the addition", _net(*["before"] * 40)),
    Healthy("pre-activation", _net(*["pre"] * 40)),
    Healthy("identity branch with a norm of its own (RepVGG)", _net(*["rep"] * 40)),
    Healthy("a projection in every block", _net(*["projection"] * 40)),
    Healthy("joined by concatenation", _net(*["dense"] * 40)),
    Healthy("an unknown operation in every block", _net(*["unknown"] * 40)),
    Healthy("stored statistics", _net(*["frozen"] * 40)),
    Healthy("post-norm transformer", _net(*["layer"] * 40)),
    Healthy(
        "forty norms, sums of other signals",
        "; ".join(
            [
                "x0 = conv(x)",
                *(
                    f"s{k} = add(x{k}, z{k}); b{k} = batch_norm(s{k}); x{k + 1} = conv(b{k})"
                    for k in range(40)
                ),
            ]
        ),
    ),
    Healthy(
        "no skip connection",
        "; ".join(
            [
                "x0 = conv(x)",
                *(
                    f"b{k} = batch_norm(x{k}); r{k} = relu(b{k}); x{k + 1} = conv(r{k})"
                    for k in range(40)
                ),
            ]
        ),
    ),
)
