from __future__ import annotations

from collections.abc import Iterator

from normscope.concepts.wording import named
from normscope.finding import Finding, Measured, Remedy
from normscope.graph.model import Graph, Node, Norm
from normscope.rule import Faulty, Healthy, rule


@rule("NS112", severity="error", since="0.1.0", explains=("NS502", "NS503", "NS504"))
def degenerate_group(graph: Graph) -> Iterator[Finding]:
    r"""A normalization group holds one value, so the output does not depend on the input.

    ## What it checks
    GroupNorm, InstanceNorm, LayerNorm and RMSNorm in the captured forward pass: over how many values each statistic was
    taken. One value is an error.

    ## Why it matters
    The mean of one value is the value: $(x - x)/\sqrt{0 + \epsilon} = 0$. Whatever comes in, the layer's shift $\beta$ comes out,
    and no gradient goes back. RMSNorm keeps the sign of the value and nothing else. Nothing crashes,
    and a network with a skip connection still learns around the dead part.

    ## Example
    ```python
    nn.GroupNorm(64, 64)  # on (N, 64): 64 groups of one value
    nn.GroupNorm(8, 64)  # 8 groups of 8 values
    ```

    ## Repair
    Fewer groups: `num_groups` is the *number* of groups, not their size, and every group needs
    several values (channels per group × positions). LayerNorm over a dimension of size 1 was probably meant for another.

    ## Known limits
    Judged on the shapes of the captured pass: a model that sees larger feature maps at other times is
    described by its first training batch. BatchNorm is left out: in training PyTorch refuses one value per channel itself, and in
    evaluation its stored statistics do not depend on how many values there are.

    ## References
    - Wu & He, *Group Normalization*, 2018, section 3. https://arxiv.org/abs/1803.08494
    - https://docs.pytorch.org/docs/stable/generated/torch.nn.GroupNorm.html
    """
    dead = [(n, op) for n, op in graph.norms() if one_value(op)]
    if not dead:
        return
    node, op = dead[0]
    names = named([n for n, _ in dead])
    yield Finding(
        f"{names} {'normalizes' if len(dead) == 1 else 'normalize'} every value by itself{detail(node, op)}: "
        f"{outcome(op)} whatever comes in. A group must hold more than 1 value.",
        layers=tuple(dict.fromkeys(n.path for n, _ in dead)),
        site=node.site,
        measured=(Measured("values per normalization group", 1, "values", low=2),),
        repairs=(Remedy("normalize over several values", "changes-function", remedy(op)),),
    )


def one_value(op: Norm) -> bool:
    return op.kind != "batch" and op.batch_stats and op.values == 1


def detail(node: Node, op: Norm) -> str:
    shape = f" on {node.shape}" if node.shape else ""
    return f" ({op.groups} groups{shape})" if op.groups else shape


def outcome(op: Norm) -> str:
    return (
        "the result is ±1 times the scale"
        if op.kind == "rms"
        else "the result is the layer's shift"
    )


def remedy(op: Norm) -> str:
    match op:
        case Norm(kind="group", groups=int(g), channels=int(c)) if c >= 4:
            # Eight values a group where the channels divide so, else the largest number of groups that leaves two.
            fewer = next((c // size for size in (8, 4, 2) if c % size == 0 and c // size < g), 1)
            return f"nn.GroupNorm({fewer}, {c})"
        case Norm(kind="instance"):
            return "nn.GroupNorm(1, channels) instead of InstanceNorm on a map of one position"
        case _:
            return "nn.LayerNorm over the feature dimension, which must be larger than 1"


CASES = (
    Faulty(
        "as many groups as channels",
        ("a",),
        "a = group_norm(x, groups=64, channels=64, values=1, shape=(32, 64)); y = linear(a)",
        severity="error",
    ),
    Faulty(
        "layer norm over one feature",
        ("a",),
        "h = linear(x); a = layer_norm(h, values=1); y = linear(a)",
        severity="error",
    ),
    Faulty("root mean square of one value", ("a",), "a = rms_norm(x, values=1)"),
    Faulty(
        "instance norm on one position",
        ("a", "b"),
        "a = instance_norm(x, channels=8, values=1); b = instance_norm(a, channels=8, values=1)",
    ),
    Healthy("groups of eight", "a = group_norm(x, groups=8, channels=64, values=8)"),
    Healthy(
        "one channel per group on a map", "a = group_norm(x, groups=64, channels=64, values=49)"
    ),
    Healthy("instance norm on a map", "a = instance_norm(x, channels=64, values=49)"),
    Healthy("two values", "a = layer_norm(x, values=2)"),
    Healthy(
        "batch norm on one image in evaluation", "a = batch_norm(x, values=1, batch_stats=False)"
    ),
    Healthy("batch norm, which refuses one value by itself", "a = batch_norm(x, values=1)"),
    Healthy(
        "instance norm with stored statistics", "a = instance_norm(x, values=1, batch_stats=False)"
    ),
    Healthy("unknown number of values", "a = layer_norm(x)"),
    Healthy("layer norm over many", "a = layer_norm(x, values=512); y = linear(a)"),
)
