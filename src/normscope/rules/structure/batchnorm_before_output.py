from __future__ import annotations

from collections.abc import Iterator

from normscope.finding import Finding, Measured, Remedy, Severity
from normscope.graph.model import Activation, Graph, Node, Norm, Output, View
from normscope.probes.results import Gap, Reading, gap_of
from normscope.record.recording import Model, Recording
from normscope.rule import Faulty, Healthy, rule

FEW = 2  # outputs: a yes-or-no answer or a quantity; features and balanced classes have more
SQUASHING = ("sigmoid", "tanh", "log_sigmoid")


def at_first_sight(graph: Graph) -> Iterator[Finding]:
    """Without a run nothing tells whether the output is a prediction or an embedding."""
    if (last := last_norm(graph)) and last[1].batch_stats:
        yield finding(*last, severity="info", observed=False)


@rule(
    "NS109", severity="warning", since="0.1.0", explains=("NS504", "NS601"), static=at_first_sight
)
def batchnorm_before_output(graph: Graph, recording: Recording) -> Iterator[Finding]:
    r"""A batch norm normalizes the prediction itself.

    ## What it checks
    Models with one output that is the result of a batch norm, seen through views, casts and a sigmoid or tanh. It is a
    warning where a loss or a decision was seen to read that output, the norm has no scale and shift, and there are one or two outputs.

    ## Why it matters
    Without scale and shift every output has mean 0 and variance 1 over the data, whatever the targets say. A rare class cannot be
    called rare, and a quantity cannot have its mean and its scale. Measured with a 64-unit network, digits, one class against nine, test accuracy over batches of 4 to
    32: 0.65 to 0.82 with such a norm, 0.98 without; table with rare alarms 0.897 and 0.955; rare spots, intersection over union
    0.693 and 0.906. With ten equal classes the accuracy stays and only the loss has a floor (0.45 against 0.10 nats). With
    scale and shift little is lost: at most 2 points of accuracy from 8 rows on; at 4 rows a regression falls from 0.94 to 0.85
    of explained variance, by the noise of the batch statistics.

    ## Example
    ```python
    nn.Sequential(nn.Linear(64, 1), nn.BatchNorm1d(1, affine=False))  # NS109: the logit has mean 0 and variance 1
    nn.Sequential(nn.BatchNorm1d(64), nn.Linear(64, 1))  # a norm on the features is fine
    ```

    ## Repair
    No norm after the last weights. Standardize targets instead, once, with the statistics of the training set.

    ## Known limits
    A loss counts as seen where it is a function of PyTorch: where the user's own formula reads the output, it stays an info. Silent when the model has several outputs (which of them the loss read is not recorded), when its output is another
    model's input, and when it was not trained. An info for embeddings (SimSiam, BNNeck, ArcFace), for three and more classes (binarized networks end in such a norm
    on purpose) and wherever the norm has a scale and a shift. 0 alarms in 258 healthy scripts, one run each (less than 1.2 % with 95 % confidence); few of
    them end in a norm. 0 in 60 seeded runs of networks that do, for ten classes, for embeddings and with scale and shift (less than 4.9 %;
    `benchmarks/calibration.py --only ended`).

    ## References
    - Ioffe & Szegedy, *Batch Normalization*, 2015, section 3 (what the scale and the shift are for). https://arxiv.org/abs/1502.03167
    - Chen & He, *Exploring Simple Siamese Representation Learning*, 2021, section 4.4 (norms at the end of heads).
      https://arxiv.org/abs/2011.10566
    """
    model = recording.models.get(graph.model)
    last = last_norm(graph)
    if model is None or last is None or model.feeds or not trained(recording, last[0].path, model):
        return
    observed = met_a_loss(recording, model)
    blamed = observed and not last[1].affine and last[1].channels in range(1, FEW + 1)
    yield finding(*last, severity="warning" if blamed else "info", observed=observed)


def last_norm(graph: Graph) -> tuple[Node, Norm] | None:
    """The batch norm that the model's only output comes from, unchanged but for its shape or a squashing."""
    outputs = [n for n in graph if isinstance(n.op, Output)]
    if len(outputs) != 1:
        return None
    node = graph.producer(outputs[0])
    while node is not None:
        match node.op:
            case Norm(kind="batch") as norm:
                return node, norm
            case View():
                pass
            case Activation(name=name) if name in SQUASHING:
                pass
            case _:
                return None
        node = graph.producer(node)
    return None


def trained(recording: Recording, path: str, model: Model) -> bool:
    """Whether the norm at `path` took part in training with the batch's statistics."""
    layer = recording.layer_at(model.id, path)
    return layer is not None and any(
        call.batch_stats for _, _, call in recording.calls(layer.id, "training")
    )


def met_a_loss(recording: Recording, model: Model) -> bool:
    """Whether a loss or a class decision was seen to read what the model returns."""
    gap = gap_of(recording.measurements.get("gap", ()), model.id)
    scored = any(
        s.scored and recording.patterns[s.pattern].model == model.id for s in recording.spans
    )
    return scored or (gap is not None and gap.measure != "output")


def finding(node: Node, norm: Norm, *, severity: Severity, observed: bool) -> Finding:
    count = norm.channels or 0
    what = f"{count} output" if count == 1 else f"{count} outputs"
    effect = (
        "moves each by the noise of its batch"
        if norm.affine
        else "has no scale and shift: each is forced to mean 0 and variance 1 over the data, whatever the targets are"
    )
    todo = (
        "Leave it out, and standardize the targets instead."
        if severity == "warning"
        else "Meant for an embedding, it is fine; for a prediction leave it out."
        if not observed
        else "Nothing was measured to suffer from it."
    )
    return Finding(
        f"The {what} of the model come straight from the batch norm `{node.path}`, which {effect}. {todo}".replace(
            "The 1 output of the model come", "The 1 output of the model comes"
        ),
        severity=severity,
        confidence="medium",
        layers=(node.path,),
        site=node.site,
        measured=(Measured("normalized outputs", count, "outputs", high=0),),
        repairs=(
            Remedy("no norm on the prediction", "changes-function", f"leave out `{node.path}`"),
        ),
    )


_RARE = "h = linear(x); a = batch_norm(h, channels=1, affine=False); y = output(a)"
_TRAINED = "layer a; train a x50; infer a mode=eval x4"
_SCORED = _TRAINED + " scored=4"
_LOSS = {
    "gap": Gap(
        model=0,
        name="Net",
        measure="loss",
        unit="loss",
        samples=2000,
        batches=32,
        batch=Reading(0.4, 0.005),
        population=Reading(0.4, 0.005),
        running=Reading(0.4, 0.005),
        stale=Reading(0.0, 0.005),
        inconsistent=Reading(0.0, 0.005),
    )
}

CASES = (
    Faulty("one logit without scale and shift", ("a",), _RARE, _SCORED, severity="warning"),
    Faulty("the loss is known from training", ("a",), _RARE, _TRAINED, _LOSS, severity="warning"),
    Faulty(
        "probability of two classes, under autocast",
        ("a",),
        "h = conv(x); a = batch_norm(h, channels=2, affine=False); s = sigmoid(a); v = view(s); c = cast(v); y = output(c)",
        _SCORED,
        severity="warning",
    ),
    Faulty("only looked at", ("a",), _RARE, static="layer a", severity="info"),
    Healthy("three classes", _RARE.replace("channels=1", "channels=3"), _SCORED, at_most="info"),
    Healthy("with scale and shift", _RARE.replace(", affine=False", ""), _SCORED, at_most="info"),
    Healthy(
        "an embedding that no loss reads directly",
        _RARE.replace("channels=1", "channels=64"),
        _TRAINED,
        at_most="info",
    ),
    Healthy("nothing read the output", _RARE, _TRAINED, at_most="info"),
    Healthy(
        "features before the classifier (BNNeck)",
        "h = linear(x); a = batch_norm(h, affine=False); l = linear(a); y = output(l)",
        _SCORED,
    ),
    Healthy(
        "logits and normalized features",
        "h = linear(x); a = batch_norm(h, affine=False, channels=2); l = linear(a); y = output(l); z = output(a)",
        _SCORED,
    ),
    Healthy(
        "activation behind the norm",
        "h = linear(x); a = batch_norm(h, channels=1, affine=False); r = relu(a); y = output(r)",
        _SCORED,
    ),
    Healthy(
        "pooled",
        "h = conv(x); a = batch_norm(h, channels=2, affine=False); p = pool(a, over_all=True); y = output(p)",
        _SCORED,
    ),
    Healthy("an encoder whose output another model reads", _RARE, "model feeds=(1,); " + _SCORED),
    Healthy("not trained here", _RARE, "layer a; infer a mode=eval x4 scored=4"),
    Healthy("frozen", _RARE, "layer a; train a mode=eval x50; infer a mode=eval x4 scored=4"),
    Healthy("layer norm", "h = linear(x); a = layer_norm(h); y = output(a)", _SCORED),
    Healthy(
        "evaluation mode, only looked at",
        _RARE.replace("channels=1", "batch_stats=False"),
        static="layer a",
        evaluating=True,
    ),
)
