from __future__ import annotations

from collections.abc import Iterator

from normscope.finding import Finding, Measured, Remedy
from normscope.graph.model import Activation, Affine, Graph, Node
from normscope.rule import Faulty, Healthy, rule


@rule("NS113", severity="info", since="0.1.0", default=False)
def activation_before_batchnorm(graph: Graph) -> Iterator[Finding]:
    """A batch norm stands after the activation of its layer instead of before it.

    ## What it checks
    Weights, then an activation, then a batch norm, each with the next one as its only reader. Off by default:
    `--select NS113` asks for it.

    ## Why it matters
    It is often advised against, and measurements do not support that. CaffeNet at 128 pixels, ImageNet top-1: norm before the
    activation 0.474, after it 0.499; GoogLeNet at 128 pixels, same source: 0.607 and 0.596 (single runs). Digits, MLP, learning rate tuned
    for each order, 8 seeds: batch 32 99.01 ± 0.18 % and 98.74 ± 0.34 %, batch 8 98.89 ± 0.27 % and 98.21 ± 0.47 %. The sign depends on the
    network, the difference is about a point, and the best learning rate differs.

    ## Example
    ```python
    nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.BatchNorm1d(64))  # activation first
    nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU())  # norm first
    ```

    ## Repair
    None that is known to help. Try it on your own task: `normscope trial` runs both orders on the same seeds; tune the learning
    rate of each. `normscope lab` has the measured comparison.

    ## Known limits
    Silent when the activation has another reader, for norms that open a block (pre-activation), for pooling between the
    two, and for other norms than BatchNorm.

    ## References
    - Mishkin, Sergievskiy & Matas, *Systematic evaluation of CNN advances on the ImageNet*, 2016, section 3.2. https://arxiv.org/abs/1606.02228
    - Ioffe & Szegedy, *Batch Normalization*, 2015, section 3.2. https://arxiv.org/abs/1502.03167
    """
    found = [
        n for n, op in graph.norms() if op.kind == "batch" and op.batch_stats and after(graph, n)
    ]
    total = sum(op.kind == "batch" for _, op in graph.norms())
    if not found:
        return
    yield Finding(
        f"{len(found)} of {total} batch norms (first `{found[0].path}`) normalize the result of an activation. Measured differences to the other "
        "order are about 1 point of accuracy and have both signs: compare the two on your task before changing it.",
        layers=tuple(dict.fromkeys(n.path for n in found)),
        site=found[0].site,
        measured=(Measured("batch norms after an activation", len(found), "layers"),),
        repairs=(
            Remedy(
                "compare both orders",
                "changes-function",
                "`normscope trial` with the two orders as arms",
            ),
        ),
    )


def after(graph: Graph, norm: Node) -> bool:
    """Whether weights, an activation and `norm` follow each other with no other reader."""
    match graph.producer(norm):
        case Node(op=Activation()) as act if len(graph.readers(act)) == 1:
            match graph.producer(act):
                case Node(op=Affine()) as affine:
                    return len(graph.readers(affine)) == 1
                case _:
                    return False
        case _:
            return False


CASES = (
    Faulty(
        "activation first", ("b",), "a = conv(x); r = relu(a); b = batch_norm(r); y = linear(b)"
    ),
    Faulty(
        "two of three",
        ("b", "d"),
        "a = conv(x); r = relu(a); b = batch_norm(r); c = conv(b); s = gelu(c); d = batch_norm(s); e = conv(d); f = batch_norm(e); y = relu(f)",
    ),
    Faulty("under autocast", ("b",), "a = conv(x); r = relu(a); c = cast(r); b = batch_norm(c)"),
    Healthy("norm first", "a = conv(x); b = batch_norm(a); y = relu(b)"),
    Healthy(
        "pre-activation",
        "b = batch_norm(x); r = relu(b); a = conv(r); s = add(x, a); d = batch_norm(s); t = relu(d); y = conv(t)",
    ),
    Healthy(
        "norm at the start of a block, after the sum's activation",
        "a = conv(x); s = add(x, a); r = relu(s); b = batch_norm(r); y = conv(b)",
    ),
    Healthy(
        "the activation has another reader",
        "a = conv(x); r = relu(a); b = batch_norm(r); y = concat(r, b)",
    ),
    Healthy("pooling in between", "a = conv(x); r = relu(a); p = max_pool(r); b = batch_norm(p)"),
    Healthy("layer norm", "a = linear(x); r = gelu(a); b = layer_norm(r)"),
    Healthy("frozen", "a = conv(x); r = relu(a); b = batch_norm(r, batch_stats=False)"),
    Healthy("activation of the input", "r = tanh(x); b = batch_norm(r)"),
)
