from collections.abc import Iterator

from normscope.concepts.wording import named
from normscope.finding import Finding, Measured, Remedy
from normscope.graph.model import Affine, Graph, Node, Norm, Op, View
from normscope.rule import Faulty, Healthy, rule


@rule("NS101", severity="info", since="0.1.0")
def redundant_bias(graph: Graph) -> Iterator[Finding]:
    r"""The bias of a linear map is cancelled by the normalization that follows it.

    ## What it checks
    A convolution or linear layer with a bias whose *only* reader, seen through views and casts, is a normalization
    that subtracts a mean per channel: BatchNorm, InstanceNorm, GroupNorm with one channel per group.

    ## Why it matters
    For such a norm $N$ and a constant $b$ per channel, $N(Wx + b) = N(Wx)$: the bias does not change
    the training output and its gradient is zero up to rounding. It costs memory and optimizer
    state, and it moves `running_mean`, which misleads whoever reads that buffer. Nothing trains worse for it: an info.

    ## Example
    ```python
    nn.Sequential(nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64))  # 64 parameters do nothing
    nn.Sequential(nn.Conv2d(3, 64, 3, bias=False), nn.BatchNorm2d(64))  # trains the same function
    ```

    ## Repair
    `bias=False` where the layer is built. For a trained model also subtract the old bias from the norm's
    `running_mean`; then train and eval outputs stay equal up to rounding. Old checkpoints need the same.

    ## Known limits
    Silent when the biased output has a second reader, when the layer is called more than once, when bias and norm run along
    different axes or the bias axis is split between them, when the norm uses stored statistics (its mean is
    then a constant, not the batch's), and when a group holds more than one channel. Pooling in between is not looked through.

    ## References
    - Ioffe & Szegedy, *Batch Normalization*, 2015, section 3.2. https://arxiv.org/abs/1502.03167
    """
    dead = [(n, bias) for n, bias, axis in biased(graph) if cancelled(graph, n, axis)]
    if not dead:
        return
    total = sum(bias for _, bias in dead)
    names = named([n for n, _ in dead])
    layers = "layer" if len(dead) == 1 else "layers"
    yield Finding(
        f"The norm right after it cancels the bias of {len(dead)} {layers} ({names}): "
        f"{total} parameters do nothing. Set `bias=False`.",
        layers=tuple(n.path for n, _ in dead),
        site=dead[0][0].site,
        measured=(Measured("dead parameters", total, "parameters", high=0),),
        repairs=(Remedy("drop the bias", "exact", "bias=False"),),
    )


def biased(graph: Graph) -> Iterator[tuple[Node, int, int]]:
    """Linear maps that are called once, with the size of their bias and the axis it runs along."""
    for n in graph:
        match n.op:
            case Affine(bias=size, axis=axis) if size and graph.calls(n) == [n]:
                yield n, size, axis
            case _:
                pass


def cancelled(graph: Graph, node: Node, axis: int) -> bool:
    """Whether the one reader of `node` subtracts a mean over each slice of `axis`."""
    match graph.readers(node):
        case [Node(op=View(sources=sources)) as view]:
            # A reshape that splits the axis gives one mean to several biases: their differences stay.
            match [i for i, dims in enumerate(sources) if axis in dims]:
                case [moved]:
                    return cancelled(graph, view, moved)
                case _:
                    return False
        case [Node(op=op)]:
            return centers_each_channel(op, axis)
        case _:
            return False


def centers_each_channel(op: Op, axis: int) -> bool:
    """Whether `op` subtracts a mean taken over one slice of `axis` at a time."""
    match op:
        case Norm(kind="batch" | "instance", axis=a, batch_stats=True):
            return a == axis
        case Norm(kind="group", axis=a, groups=int(groups), channels=channels):
            return a == axis and groups == channels
        case _:
            return False


CASES = (
    Faulty("batch norm", ("a",), "a = conv(x, bias=64); y = batch_norm(a)"),
    Faulty(
        "two layers, one finding",
        ("a", "b"),
        "a = conv(x, bias=64); y = batch_norm(a); b = linear(y, bias=9); z = batch_norm(b)",
    ),
    Faulty(
        "one channel per group",
        ("a",),
        "a = conv(x, bias=8); y = group_norm(a, groups=8, channels=8)",
    ),
    Faulty("under autocast", ("a",), "a = conv(x, bias=8); b = cast(a); y = batch_norm(b)"),
    Faulty(
        "flattened feature map",
        ("a",),
        "a = conv(x, bias=8, shape=(2, 8, 3, 3)); b = view(a, sources=((0,), (1, 2, 3))); y = batch_norm(b)",
    ),
    Faulty(
        "features of a sequence, moved to the norm's axis",
        ("a",),
        "a = linear(x, bias=8, axis=2); b = view(a, sources=((0,), (2,), (1,))); y = batch_norm(b)",
    ),
    Healthy("no bias", "a = conv(x); y = batch_norm(a)"),
    Healthy("activation in between", "a = conv(x, bias=64); b = relu(a); y = batch_norm(b)"),
    Healthy("second reader", "a = conv(x, bias=64); b = batch_norm(a); y = add(a, b)"),
    Healthy(
        "second reader behind a view",
        "a = conv(x, bias=8); v = view(a, sources=((0,), (1,))); b = batch_norm(v); y = add(v, b)",
    ),
    Healthy(
        "shared layer", "a = conv(x, bias=8, path='c'); y = batch_norm(a); b = conv(y, path='c')"
    ),
    Healthy("other axis", "a = linear(x, bias=8, axis=2); y = batch_norm(a)"),
    Healthy(
        "split axis",
        "a = linear(x, bias=8); b = view(a, sources=((0,), (1,), (1,))); y = batch_norm(b)",
    ),
    Healthy("unknown view", "a = linear(x, bias=8); b = view(a); y = batch_norm(b)"),
    Healthy("wide groups", "a = conv(x, bias=8); y = group_norm(a, groups=2, channels=8)"),
    Healthy("layer norm", "a = linear(x, bias=8); y = layer_norm(a)"),
    Healthy("norm that keeps the mean", "a = linear(x, bias=8); y = rms_norm(a)"),
    Healthy("stored statistics", "a = conv(x, bias=64); y = batch_norm(a, batch_stats=False)"),
    Healthy(
        "unknown operation in between", "a = conv(x, bias=64); b = frobnicate(a); y = batch_norm(b)"
    ),
)
