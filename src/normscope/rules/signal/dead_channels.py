from __future__ import annotations

from collections.abc import Iterator

from normscope.concepts.paths import bypassed
from normscope.finding import Finding, Measured, Remedy, Severity
from normscope.graph.model import Activation, Graph, Node, Pool, View
from normscope.probes.observations import Channels, Signal
from normscope.record.recording import Recording
from normscope.rule import Faulty, Healthy, rule

MOST = (
    0.7  # share of silent channels; AUTOTRAINER calls a network dying from this share of zeros on
)
RECTIFIERS = ("relu", "relu6", "threshold")


@rule("NS503", severity="warning", since="0.1.0", explains=("NS502", "NS504", "NS506"))
def dead_channels(signal: Signal, graph: Graph, recording: Recording) -> Iterator[Finding]:
    """Most channels of a batch norm are never positive before a ReLU: nothing and no gradient comes through.

    ## What it checks
    Kept batches of the second half of the training are replayed in evaluation mode. For each batch norm that only rectifiers read: the share of
    channels whose output was not above 0 for any sample and position, without those whose scale training has turned down to below
    0.05. From 70 % on it is a warning, on a branch that a skip connection passes an info.

    ## Why it matters
    A rectifier lets neither value nor gradient of such a channel through, so that nothing can bring it back. In training each channel has mean β
    and deviation γ; it dies when β falls several γ below 0 (an initializer meant for another layer, one much too large step), or when
    stored statistics belong to other data.

    ## Example
    ```python
    for m in model.modules():
        if getattr(m, "bias", None) is not None:
            nn.init.constant_(m.bias, -4.6)  # NS503: meant for the last layer, but shifts every norm below its ReLU
    ```

    ## Repair
    Initialize γ = 1 and β = 0, warm the learning rate up, and give frozen norms the inputs that they were trained on. Dead channels do not come back:
    begin again from before they died.

    ## Known limits
    Silent when channels were switched off by their scale (l1 penalties, weight decay, pruning), for activations with a slope below zero, when
    the input of the norm is itself constant (NS502), and for a lower share: single dead channels are common. Healthy scripts: at most 16 %;
    0 alarms in 258 of them, one run each, so less than 1.2 % with 95 % confidence; and 0 in 60 seeded variations of networks with rectifiers behind
    their norms, none of which had a dead channel (less than 4.9 %; `benchmarks/calibration.py --only rectified`).

    ## References
    - Zhang et al., *AUTOTRAINER*, ICSE 2021, section 3 (dying ReLU). https://doi.org/10.1109/ICSE43902.2021.00043
    - Mehta et al., *On Implicit Filter Level Sparsity in Convolutional Neural Networks*, CVPR 2019. https://arxiv.org/abs/1811.12495
    """
    nodes = {n.path: n for n, op in graph.norms() if op.kind == "batch"}
    dead = [
        c
        for c in signal.channels
        if c.silent - c.faded >= MOST and c.collapsed < 0.5 and c.path in nodes
        if rectified(graph, nodes[c.path])
    ]
    if not dead:
        return
    plain = [c for c in dead if not bypassed(graph, nodes[c.path], {nodes[c.path].id})]
    severity: Severity = "warning" if plain else "info"
    named = plain or dead
    worst = named[0]  # in the order of the forward pass: those behind it may only follow
    layer = recording.layers.get(worst.layer)
    share = worst.silent - worst.faded
    yield Finding(
        f"{share:.0%} of the {worst.channels} channels of `{worst.path}` of `{signal.name}` were never above 0 on {signal.samples} training "
        f"samples, so that its ReLU passes neither values nor gradients of them. Look at the shift and scale of `{worst.path}`.",
        severity=severity,
        confidence="high" if signal.samples >= 200 else "medium",
        model=signal.name,
        layers=tuple(c.path for c in named),
        site=layer.site if layer else None,
        measured=(Measured("channels that are never positive", share, "1", high=MOST),),
        repairs=(
            Remedy(
                "reset-scale-and-shift",
                "changes-function",
                f"model.get_submodule({worst.path!r}).reset_parameters() before training again",
            ),
        ),
    )


def rectified(graph: Graph, norm: Node) -> bool:
    """Whether only rectifiers read the norm, seen through views and maximum pooling."""
    readers = graph.readers(norm)
    if not readers:
        return False
    for node in readers:
        through = isinstance(node.op, View) or (isinstance(node.op, Pool) and node.op.kind == "max")
        if through and rectified(graph, node):
            continue
        if not (isinstance(node.op, Activation) and node.op.name in RECTIFIERS):
            return False
    return True


def _measured(silent: float, faded: float = 0.0, collapsed: float = 0.0) -> dict[str, object]:
    layers = (Channels(0, "a", 32, silent, faded, collapsed),)
    return {"signal": Signal(model=0, name="Net", samples=1000, batches=30, channels=layers)}


_RUN = "layer a; train a x500"
_PLAIN = "c = conv(x); a = batch_norm(c); r = relu(a); l = linear(r); y = output(l)"
_BRANCH = "c = conv(x); a = batch_norm(c); r = relu(a); d = conv(r); s = add(x, d); y = output(s)"

CASES = (
    Faulty("all channels", ("a",), _PLAIN, _RUN, measured=_measured(1.0), severity="warning"),
    Faulty("seven tenths", ("a",), _PLAIN, _RUN, measured=_measured(0.71), severity="warning"),
    Faulty("a branch with a skip", ("a",), _BRANCH, _RUN, measured=_measured(1.0), severity="info"),
    Healthy("some dead channels", _PLAIN, _RUN, measured=_measured(0.69)),
    Healthy("switched off by an l1 penalty", _PLAIN, _RUN, measured=_measured(0.9, faded=0.8)),
    Healthy("its input is constant", _PLAIN, _RUN, measured=_measured(1.0, collapsed=1.0)),
    Healthy(
        "negative values pass",
        "c = conv(x); a = batch_norm(c); r = gelu(a); l = linear(r); y = output(l)",
        _RUN,
        measured=_measured(1.0),
    ),
    Healthy(
        "read by a skip connection as well",
        "c = conv(x); a = batch_norm(c); r = relu(a); d = conv(r); s = add(a, d); y = output(s)",
        _RUN,
        measured=_measured(1.0),
    ),
)
