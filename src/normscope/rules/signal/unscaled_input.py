from __future__ import annotations

from collections.abc import Iterator

from normscope.concepts.saturation import node_of, saturated
from normscope.finding import Finding, Measured, Remedy
from normscope.graph.model import Activation, Affine, Graph, Input, Node, Norm
from normscope.probes.observations import Channels, InputScale, Saturation, Signal
from normscope.record.recording import Recording
from normscope.rule import Faulty, Healthy, rule

LARGE = 10.0  # root mean square of the largest channel; standardized data have 1, byte pixels 100
MOST = 0.5  # share of a norm's channels with a variance below eps


@rule("NS505", severity="error", since="0.1.0", explains=("NS408", "NS502", "NS504", "NS506"))
def unscaled_input(signal: Signal, graph: Graph, recording: Recording) -> Iterator[Finding]:
    r"""The raw inputs are on a scale that the network cannot take.

    ## What it checks
    The variance and root mean square of each channel of the kept inputs, and what they lead to. Too small: half of the channels vary by less
    than the $\epsilon$ of the first batch norm, and so do most of that norm's own inputs. Too large: some channel has a root mean square
    above 10, and a sigmoid or tanh that it reaches through linear maps alone, with no norm between, is saturated (NS506: 80 % of its values, or
    half of its units always at one end). Of a gated unit tanh · sigmoid that is the tanh.

    ## Why it matters
    A batch norm sets the scale only while the variance is above $\epsilon$: of inputs that were divided by 255 twice it makes next to nothing.
    An activation before the first norm gets what the data happen to be: pascals drive every tanh to its ends, where no gradient comes back.

    ## Example
    ```python
    x = transforms.ToTensor()(image) / 255  # NS505: ToTensor has divided by 255 already
    ```

    ## Repair
    Subtract each channel's mean and divide by its standard deviation, both taken from the training set, in training and evaluation alike.

    ## Known limits
    Scale alone is no fault: raw bytes before a convolution and a batch norm, or any numbers that a norm reads first, are silent. So are constant
    inputs (NS502) and tokens. Its own severity is a warning; it takes over that of what it explains.

    ## References
    - LeCun et al., *Efficient BackProp*, 1998, section 4.3. https://doi.org/10.1007/978-3-642-35289-8_3
    - Ioffe & Szegedy, *Batch Normalization*, 2015, section 3. https://arxiv.org/abs/1502.03167
    """
    scale = signal.input
    if scale is None:
        return
    if (norm := _starved(signal, graph, recording, scale)) is not None:
        eps = recording.layers[norm.layer].eps
        yield _finding(
            f"The inputs of `{signal.name}` have a variance of {scale.variance:.1g} (median of {scale.channels} channels), below the eps={eps:g} of "
            f"`{norm.path}`, which therefore cannot set their scale. Standardize the inputs.",
            signal,
            norm.path,
            Measured("input variance", scale.variance, "squared units", low=eps),
        )
    elif (stuck := _flooded(signal, graph, scale)) is not None:
        yield _finding(
            f"The inputs of `{signal.name}` reach a root mean square of {scale.largest:.3g}, and no norm comes before the first {stuck.function}: "
            f"{stuck.saturated:.0%} of its values are saturated. Standardize the inputs.",
            signal,
            stuck.path,
            Measured("root mean square of the largest channel", scale.largest, "units", high=LARGE),
        )


def _starved(
    signal: Signal, graph: Graph, recording: Recording, scale: InputScale
) -> Channels | None:
    """The first batch norm that the input reaches, if both vary by less than its eps; constant inputs are no matter of scale."""
    for node, op in graph.norms():
        if _before(graph, node) is None:
            continue
        if op.kind != "batch":
            return None
        found = next((c for c in signal.channels if c.path == node.path), None)
        layer = recording.layers.get(found.layer) if found else None
        if found and layer and found.collapsed >= MOST and 0 < scale.variance < layer.eps:
            return found
        return None
    return None


def _flooded(signal: Signal, graph: Graph, scale: InputScale) -> Saturation | None:
    """The saturated activation that large inputs reach through linear maps alone."""
    if scale.largest < LARGE:
        return None
    for activation in saturated(signal, graph):
        node = node_of(graph, activation)
        between = _before(graph, node) if node else None
        if between and any(isinstance(n.op, Affine) for n in between):
            return activation
    return None


def _before(graph: Graph, node: Node) -> list[Node] | None:
    """The operations between the inputs and `node`; None where a norm or an activation stands there, or no input does."""
    open_, reached, from_input = graph.inputs(node), dict[str, Node](), False
    while open_:
        n = open_.pop()
        if isinstance(n.op, Norm | Activation):
            return None
        from_input = from_input or isinstance(n.op, Input)
        if n.id not in reached:
            reached[n.id] = n
            open_ += graph.inputs(n)
    return [*reached.values()] if from_input else None


def _finding(message: str, signal: Signal, path: str, measured: Measured) -> Finding:
    return Finding(
        message,
        severity="warning",
        confidence="high" if signal.samples >= 200 else "medium",
        model=signal.name,
        layers=(path,),
        measured=(measured,),
        repairs=(
            Remedy(
                "standardize",
                "changes-function",
                "`x = (x - train_mean) / train_std`, channel by channel",
            ),
        ),
    )


def _measured(
    variance: float, largest: float, collapsed: float = 0.0, saturation: float = 0.0
) -> dict[str, object]:
    signal = Signal(
        model=0,
        name="Net",
        samples=1000,
        batches=30,
        channels=(Channels(0, "a", 16, 0.0, 0.0, collapsed),),
        activations=(Saturation("t", "tanh", 0, saturation, 0.0),),
        input=InputScale(3, variance, largest),
    )
    return {"signal": signal}


_RUN = "layer a; train a x500"
_NORM_FIRST = "a = batch_norm(x); c = conv(a); r = relu(c); y = linear(r)"
_CONV_FIRST = "c = conv(x); a = batch_norm(c); r = relu(a); y = linear(r)"
_TANH_FIRST = "l = linear(x); t = tanh(l); m = linear(t); a = batch_norm(m); y = linear(a)"

CASES = (
    Faulty(
        "volts", ("a",), _NORM_FIRST, _RUN, measured=_measured(1e-10, 1e-5, 1.0), severity="warning"
    ),
    Faulty("divided twice", ("a",), _CONV_FIRST, _RUN, measured=_measured(2e-7, 2e-3, 0.9)),
    Faulty("pascals", ("t",), _TANH_FIRST, _RUN, measured=_measured(1e3, 1e5, 0.0, 1.0)),
    Healthy("standardized", _NORM_FIRST, _RUN, measured=_measured(1.0, 1.0)),
    Healthy("raw bytes before a norm", _CONV_FIRST, _RUN, measured=_measured(4e3, 130.0)),
    Healthy("small, but the norm copes", _CONV_FIRST, _RUN, measured=_measured(5e-6, 3e-3, 0.0)),
    Healthy("constant inputs", _NORM_FIRST, _RUN, measured=_measured(0.0, 1.0, 1.0)),
    Healthy(
        "large, but nothing is saturated",
        _TANH_FIRST,
        _RUN,
        measured=_measured(1e2, 30.0, 0.0, 0.2),
    ),
    Healthy(
        "saturated on a common scale", _TANH_FIRST, _RUN, measured=_measured(1.0, 3.0, 0.0, 0.95)
    ),
    Healthy(
        "a norm stands between",
        "a = batch_norm(x); l = linear(a); t = tanh(l); y = linear(t)",
        _RUN,
        measured=_measured(1e3, 1e5, 0.0, 1.0),
    ),
)
