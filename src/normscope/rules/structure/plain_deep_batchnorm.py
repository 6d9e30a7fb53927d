from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from normscope.finding import Finding, Measured, Remedy, Steps
from normscope.graph.model import Affine, Graph, Node, Norm, Output
from normscope.record.recording import Gradients, Recording, Scalars
from normscope.rule import Faulty, Healthy, rule

DEEP = 20  # batch norms; ×46 in gradient norm at ×1.211 each
FAR = 10.0  # first over last weights
ENDS = 3  # weights at either end of the chain that are averaged
SAMPLES = 2  # of the gradient, at the least
TRAINED = 0.1  # of the early loss


@rule("NS104", severity="error", since="0.1.0", explains=("NS408", "NS504", "NS601"))
def plain_deep_batchnorm(
    graph: Graph, gradients: Gradients, recording: Recording
) -> Iterator[Finding]:
    """More than twenty batch norms follow each other without a skip, and the gradient grows on its way back.

    ## What it checks
    The way from the input to the output that passes the fewest batch norms: skip connections, dense connections and short branches
    shorten it. More than 20 are flagged where the gradient is also measured to be more than 10 times as large at the
    first weights of that way as at the last, from step 10 on. A weight in front of a norm has a gradient that shrinks as
    the weight grows (‖g‖ ∝ 1/‖w‖), and exploding gradients make their weights grow in the first step; so what
    is compared is ‖g‖·‖w‖, which the weight's scale leaves alone: the geometric mean of three weights at either end, the median of
    the samples.

    ## Why it matters
    At initialization every batch norm before a ReLU multiplies the norm of the gradient by √(π/(π−1)) = 1.211 on its way back, by more with
    small batches: ×46 after 20 layers, ×14,000 after 50. The first step then throws the first weights far away,
    and they learn no more. Measured on digits, 40 layers: 36 % test accuracy, against 97 % for as many in
    residual blocks. The same growth amplifies small errors of the running statistics (NS408; 44 layers: 64 % errors, 41 % with recomputed
    ones) and the chance in each batch (NS601).

    ## Example
    ```python
    for linear, norm in layers:
        x = relu(norm(linear(x)))  # NS104 with forty of them; `x = x + relu(norm(linear(x)))` trains
    ```

    ## Repair
    A skip connection around every block or two; or fewer layers. LayerNorm does not grow the gradient (×0.99 a layer).

    ## Known limits
    A warning, unless it explains an error that was measured. Gradients are read where `backward` left them: silent for those that `torch.autograd.grad` returns. Silent when the loss has fallen below a tenth of its first values: then the network trains. Calibrated on thirteen runs: plain
    towers that learned, of 8 to 30 norms (MLP, convolutions, MobileNetV1 of 27) stayed at medians of 0.6 to 7.5;
    towers of 36 and 40 that did not, at 17 to 580; none of 244 healthy scripts was flagged. Towers that fail with a smaller ratio are
    missed.

    ## References
    - Yang et al., *A Mean Field Theory of Batch Normalization*, 2019, section 3. https://arxiv.org/abs/1902.08129
    - He et al., *Deep Residual Learning*, 2016, section 4. https://arxiv.org/abs/1512.03385
    """
    chain = shortest_way(graph)
    norms = [n for n in chain if is_batch_norm(n)]
    if len(norms) <= DEEP or learned(recording.scalars):
        return
    weights = weights_before(chain, norms[-1])
    columns = columns_of(gradients, graph.model, weights)
    steps, ratios = growth(gradients, columns)
    if len(ratios) < SAMPLES or (ratio := float(np.median(ratios))) <= FAR:
        return
    yield Finding(
        f"{len(norms)} batch norms follow each other{_where(norms[0], norms[-1])} without a skip connection, and the gradient "
        f"at the first weights is {ratio:.3g} times that at the last (median of {len(ratios)} steps, {steps[0]} to {steps[-1]}). "
        "Put a skip connection around every block, or use fewer layers.",
        severity="warning",
        confidence="high" if len(ratios) > SAMPLES else "medium",
        layers=tuple(n.path for n in (norms[0], norms[-1]) if n.path),
        site=norms[0].site,
        steps=Steps(int(steps[0]), int(steps[-1]), len(ratios)),
        measured=(
            Measured("batch norms in a row", len(norms), "layers", high=DEEP),
            Measured("gradient norm × weight norm, first over last", ratio, "1", high=FAR),
        ),
        repairs=(Remedy("add skip connections", "changes-function", "x = x + block(x)"),),
    )


def _where(first: Node, last: Node) -> str:
    """Paths; a functional call of the root has no better name than its line, which may be that of all."""
    one, other = (n.path or str(n.site or "") for n in (first, last))
    if one != other:
        return f" from `{one}` to `{other}`"
    return f" in `{one}`" if one else ""


def is_batch_norm(node: Node) -> bool:
    return isinstance(node.op, Norm) and node.op.kind == "batch" and node.op.batch_stats


def shortest_way(graph: Graph) -> list[Node]:
    """From any input to an output with as few batch norms as possible; of several outputs, to the farthest."""
    count: dict[str, int] = {}
    before: dict[str, str | None] = {}
    for node in graph:
        nearest = min((i for i in node.inputs if i in count), key=count.__getitem__, default=None)
        before[node.id] = nearest
        count[node.id] = is_batch_norm(node) + (0 if nearest is None else count[nearest])
    at = max((n.id for n in graph if isinstance(n.op, Output)), key=count.__getitem__, default=None)
    way: list[Node] = []
    while at is not None:
        way.append(graph[at])
        at = before[at]
    return way[::-1]


def weights_before(way: list[Node], end: Node) -> list[Node]:
    """The affine maps on the way up to a norm, in order; one with shared weights counts once."""
    until = [n for n in way[: way.index(end)] if isinstance(n.op, Affine) and (n.weights or n.path)]
    return list({n.weights or n.path: n for n in reversed(until)}.values())[::-1]


def columns_of(gradients: Gradients, model: int, maps: list[Node]) -> list[int]:
    """The columns of the maps' weights; also where a parametrization of their module holds them."""
    own = {p.path: k for k, p in enumerate(gradients.parameters) if p.model == model}

    def column(node: Node) -> int | None:
        inside = (k for path, k in own.items() if node.path and path.startswith(f"{node.path}."))
        return own.get(node.weights, next(inside, None))

    return [k for n in maps if (k := column(n)) is not None]


def growth(
    gradients: Gradients, columns: list[int]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Steps, and at each ‖g‖·‖w‖ of the first columns over that of the last, by geometric means."""
    ends = min(ENDS, len(columns) // 2)
    if not ends:
        return gradients.steps[:0], np.zeros(0)
    pull = (gradients.gradient * gradients.weight)[:, columns]
    known = (np.isfinite(pull) & (pull > 0)).all(1)
    log = np.log(pull[known])
    return gradients.steps[known], np.exp(log[:, :ends].mean(1) - log[:, -ends:].mean(1))


def learned(scalars: Scalars | None) -> bool:
    """Whether the loss fell by so much that the network must have trained."""
    if scalars is None or len(loss := scalars.loss[np.isfinite(scalars.loss)]) < 6:
        return False
    return bool(0 <= np.median(loss[-5:]) < TRAINED * np.median(loss[:3]))


def _tower(depth: int, skip: int = 0, joint: str = "add") -> str:
    """A plain tower; with `skip`, a sum around each so many layers."""
    drawn, at, begin = list[str](), "x", "x"
    for i in range(depth):
        drawn += [f"c{i} = linear({at})", f"n{i} = batch_norm(c{i})", f"r{i} = relu(n{i})"]
        at = f"r{i}"
        if skip and i % skip == skip - 1:
            drawn.append(f"s{i} = {joint}({at}, {begin})")
            at = begin = f"s{i}"
    return "; ".join([*drawn, f"head = linear({at})", "y = output(head)"])


def _tower_of_functions(depth: int, *, shared: bool = False) -> str:
    """The same by functional calls of the root, on parameters `c0`, `c1`, and so on."""
    drawn, at = list[str](), "x"
    for i in range(depth):
        weights = "c0" if shared else f"c{i}"
        drawn.append(f"c{i} = linear({at}, path='', weights='{weights}')")
        drawn += [f"n{i} = batch_norm(c{i}, path='')", f"r{i} = relu(n{i}, path='')"]
        at = f"r{i}"
    return "; ".join([*drawn, f"y = output({at})"])


def _norms(depth: int, first: float, last: float = 1.0, steps: tuple[int, ...] = (10, 20)) -> str:
    """Gradients that fall from the first to the last layer, the weights' norms all 1."""
    layers = "layer n0; train n0 x100"
    size = np.geomspace(first, last, depth)
    each = " ".join(f"c{i}.weight={x:.6g}" for i, x in enumerate(size))
    return "; ".join([layers, *(f"gradient {step} {each}" for step in steps)])


CASES = (
    Faulty(
        "twenty-one in a row, gradients grow",
        ("n0", "n20"),
        sketch=_tower(21),
        story=_norms(21, 30.0),
        severity="warning",
    ),
    Faulty(
        "forty in a row",
        ("n0", "n39"),
        sketch=_tower(40),
        story=_norms(40, 1000.0, steps=(10, 13, 17)) + "; loss 1 2.3; loss 100 2.2",
    ),
    Faulty(
        "weights that the first step made large hide a raw ratio below one",
        ("n0", "n20"),
        sketch=_tower(21),
        story="layer n0; train n0 x100; "
        + "; ".join(
            f"gradient {s} "
            + " ".join(f"c{i}.weight=({0.1 + 0.04 * i},{1000 * 0.6**i})" for i in range(21))
            for s in (10, 20)
        ),
    ),
    Faulty(
        "weights in one dictionary of parameters",
        (),
        sketch=_tower_of_functions(21),
        story=_norms(21, 30.0).replace(".weight", ""),
    ),
    Healthy(
        "one weight matrix for all layers: no first and no last",
        sketch=_tower_of_functions(21, shared=True),
        story=_norms(21, 30.0).replace(".weight", ""),
    ),
    Healthy("twenty in a row", sketch=_tower(20), story=_norms(20, 46.0)),
    Healthy("twenty-one, gradients even", sketch=_tower(21), story=_norms(21, 5.0)),
    Healthy(
        "twenty-seven, as in MobileNetV1: ratio 5 from step 10 on",
        sketch=_tower(27),
        story=_norms(27, 9.0, steps=(10, 13, 17, 22)),
    ),
    Healthy("residual", sketch=_tower(40, skip=2), story=_norms(40, 100.0)),
    Healthy(
        "densely connected", sketch=_tower(40, skip=1, joint="concat"), story=_norms(40, 100.0)
    ),
    Healthy(
        "forty in a row, and it trains",
        sketch=_tower(40),
        story=_norms(40, 100.0)
        + "; "
        + "; ".join(f"loss {i} {2.0 if i < 5 else 0.05}" for i in range(1, 20)),
    ),
    Healthy("one sample", sketch=_tower(40), story=_norms(40, 100.0, steps=(10,))),
    Healthy(
        "layer norms",
        sketch=_tower(40).replace("batch_norm", "layer_norm"),
        story=_norms(40, 100.0),
    ),
    Healthy(
        "batch norms that are frozen",
        sketch=_tower(40).replace("); r", ", batch_stats=False); r"),
        story=_norms(40, 100.0),
    ),
)
