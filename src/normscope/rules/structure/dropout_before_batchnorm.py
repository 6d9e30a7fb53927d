from __future__ import annotations

from collections.abc import Iterator

from normscope.finding import Finding, Measured, Remedy, Severity
from normscope.graph.model import Dropout, Graph, Input, Node, Norm, Site
from normscope.probes import thresholds
from normscope.probes.observations import DropoutShift, DropoutShifts
from normscope.probes.results import Gap, Reading, gap_of
from normscope.record.recording import Layer, Recording
from normscope.rule import Faulty, Healthy, rule

RATE = 0.3  # weaker dropout did no harm: 98.5 against 98.6 % at 0.2, directly before the norm
LOW, HIGH = 0.8, 1.25  # of the variance without dropout over the one that training stored
HALF = 0.5  # far enough off to be blamed whatever the gap


def at_first_sight(graph: Graph) -> Iterator[Finding]:
    """Without a run nothing tells whether the variances differ."""
    norms = [n for n, op in graph.norms() if op.kind == "batch" and op.tracks and op.batch_stats]
    reached = {n.path: rate for n in norms if (rate := _rate(graph, n))}
    if reached:
        path = max(reached, key=reached.__getitem__)
        yield _unmeasured("", reached, next(n.site for n in norms if n.path == path))


@rule(
    "NS102",
    severity="error",
    since="0.1.0",
    explains=("NS408", "NS601"),
    static=at_first_sight,
)
def dropout_before_batchnorm(graph: Graph, recording: Recording) -> Iterator[Finding]:
    r"""Strong dropout before a batch norm: evaluation has another variance than training stored.

    ## What it checks
    Dropout with a rate of 0.3 or more whose result reaches a batch norm without another norm between, and what it does there: kept batches are
    replayed with dropout on and off, everything else fixed. It counts where the input variance without dropout leaves [0.8, 1.25] times both
    the one with dropout and the running variance. A warning beyond [0.5, 2], or where the gap probe sees a loss; an info else,
    and where nothing could be measured.

    ## Why it matters
    Inverted dropout keeps the mean and adds variance. With keep probability $p$, the variance in evaluation over that in training
    is $p\sigma^2 / (\sigma^2 + (1-p)\mu^2)$: 0.41 behind a rectifier at $p = 0.5$. The norm divides by a deviation that is not there in
    evaluation. Digits, dropout before the norm: 98.6 % at rate 0, 92.7 % at 0.5, 17.5 % at 0.7. DenseNet on CIFAR-100: 77.4 % without and 68.6 % with
    0.5 in every block.

    ## Example
    ```python
    nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Dropout(0.5), nn.BatchNorm1d(48))  # NS102
    nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.BatchNorm1d(48), nn.Dropout(0.5))
    ```

    ## Repair
    Move dropout behind the last batch norm. Or recompute the running statistics with dropout off and only the norms in training mode.

    ## Known limits
    Silent when the rate is below 0.3, when the measured ratio lies inside the band (wide layers), for dropout in
    evaluation mode, behind the last norm, and for stochastic depth. It takes over the severity of a gap that it explains.

    ## References
    - Li et al., *Understanding the Disharmony between Dropout and Batch Normalization by Variance Shift*, 2019, section 3. https://arxiv.org/abs/1801.05134
    """
    layers = {x.path: x for x in recording.layers.values() if x.model == graph.model}
    reached: dict[str, float] = {}
    for node, norm in graph.norms():
        layer = layers.get(node.path)
        if norm.kind == "batch" and layer and layer.updates and (rate := _rate(graph, node)):
            reached[node.path] = max(rate, reached.get(node.path, 0.0))
    if not reached:
        return
    measured = next(
        (
            m
            for m in recording.measurements.get("dropout", [])
            if isinstance(m, DropoutShifts) and m.model == graph.model
        ),
        None,
    )
    name = recording.models[graph.model].name
    if measured is None:
        yield _unmeasured(name, reached, layers[max(reached, key=reached.__getitem__)].site)
        return
    off = [x for x in measured.layers if x.path in reached and _outside(x)]
    if off:
        gap = gap_of(recording.measurements.get("gap", []), graph.model)
        yield _finding(name, off, reached, layers, gap)


def _rate(graph: Graph, norm: Node) -> float:
    """The highest rate of active dropout between the norm and those before it; 0 below `RATE`."""
    open_, reached, highest = graph.inputs(norm), set[str](), 0.0
    while open_:
        node = open_.pop()
        if node.id in reached or isinstance(node.op, Norm | Input):
            continue
        reached.add(node.id)
        if isinstance(node.op, Dropout) and node.op.active and node.op.rate < 1:
            highest = max(highest, node.op.rate)
        open_ += graph.inputs(node)
    return highest if highest >= RATE else 0.0


def _outside(layer: DropoutShift) -> bool:
    both = (layer.off_on, layer.off_running)
    return max(both) < LOW or min(both) > HIGH


def _far(layer: DropoutShift) -> bool:
    both = (layer.off_on, layer.off_running)
    return max(both) < HALF or min(both) > 1 / HALF


def _finding(
    name: str,
    off: list[DropoutShift],
    rates: dict[str, float],
    layers: dict[str, Layer],
    gap: Gap | None,
) -> Finding:
    harm = gap is not None and not thresholds.calm(gap)
    severity: Severity = "warning" if harm or any(map(_far, off)) else "info"
    worst = min(off, key=lambda x: min(x.off_running, 1 / x.off_running))
    return Finding(
        f"Dropout of {rates[worst.path]:g} before `{worst.path}` of `{name}`: in evaluation the variance of its input is {worst.off_running:.2g} times "
        f"its running variance, {worst.off_on:.2g} times that with dropout ({len(off)} of its batch norms are in this state). Move dropout behind the last batch norm.",
        severity=severity,
        confidence="high",
        model=name,
        layers=tuple(x.path for x in off),
        site=layers[worst.path].site,
        measured=(
            Measured("variance without dropout over running", worst.off_running, "1", LOW, HIGH),
            Measured("variance without dropout over with", worst.off_on, "1", LOW, HIGH),
        ),
        repairs=(
            Remedy(
                "move-dropout",
                "changes-function",
                "`nn.Sequential(linear, batch_norm, relu, dropout)`, behind the last norm",
            ),
        ),
    )


def _unmeasured(name: str, rates: dict[str, float], site: Site | None) -> Finding:
    path, rate = max(rates.items(), key=lambda item: item[1])
    return Finding(
        f"Dropout of {rate:g} comes before `{path}`{f' of `{name}`' if name else ''}, which may give its input another variance in "
        "evaluation than in training; that was not measured.",
        severity="info",
        confidence="low",
        model=name,
        layers=tuple(rates),
        site=site,
        measured=(Measured("dropout rate", rate, "1", high=RATE),),
    )


def _measured(off_on: float, off_running: float | None = None) -> dict[str, object]:
    running = off_on if off_running is None else off_running
    layer = DropoutShift(0, "a", off_on, running)
    return {"dropout": DropoutShifts(model=0, name="Net", samples=1000, layers=(layer,))}


_CALM = Gap(
    model=0,
    name="Net",
    measure="error",
    unit="1",
    samples=2000,
    batches=60,
    batch=Reading(0.02, 0.003),
    population=Reading(0.02, 0.003),
    running=Reading(0.02, 0.003),
    stale=Reading(0.0, 0.003),
    inconsistent=Reading(0.0, 0.003),
)
_RUN = "layer a updates=500; train a x500"
_BEFORE = "l = linear(x); r = relu(l); d = dropout(r); a = batch_norm(d); y = linear(a)"

CASES = (
    Faulty("directly before", ("a",), _BEFORE, _RUN, measured=_measured(0.41), severity="warning"),
    Faulty(
        "behind a linear map",
        ("a",),
        "d = dropout(x, rate=0.7); l = linear(d); a = batch_norm(l)",
        _RUN,
        measured=_measured(0.3),
        severity="warning",
    ),
    Faulty(
        "moderate, and nothing is lost",
        ("a",),
        _BEFORE,
        _RUN,
        measured=_measured(0.6) | {"gap": _CALM},
        severity="info",
    ),
    Faulty("not measured", ("a",), _BEFORE, _RUN, severity="info"),
    Healthy(
        "light dropout",
        "d = dropout(x, rate=0.2); a = batch_norm(d)",
        _RUN,
        measured=_measured(0.7),
    ),
    Healthy("a wide layer", _BEFORE, _RUN, measured=_measured(0.85)),
    Healthy("behind the norm", "a = batch_norm(x); d = dropout(a); y = linear(d)", _RUN),
    Healthy(
        "another norm between",
        "d = dropout(x); n = layer_norm(d); l = linear(n); a = batch_norm(l)",
        _RUN,
    ),
    Healthy("dropout switched off", "d = dropout(x, active=False); a = batch_norm(d)", _RUN),
    Healthy("recomputed without dropout", _BEFORE, _RUN, measured=_measured(0.41, 1.0)),
    Healthy("a frozen norm", _BEFORE, "layer a; train a mode=eval x500", measured=_measured(0.4)),
    Faulty("only looked at", ("a",), _BEFORE, static="layer a", severity="info"),
    Healthy(
        "only looked at, in evaluation",
        "d = dropout(x, active=False); a = batch_norm(d, batch_stats=False)",
        static="layer a",
        evaluating=True,
    ),
    Healthy(
        "only looked at, light dropout",
        "d = dropout(x, rate=0.2); a = batch_norm(d)",
        static="layer a",
    ),
    Healthy(
        "only looked at, behind the norm",
        "a = batch_norm(x); d = dropout(a); y = linear(d)",
        static="layer a",
    ),
    Healthy(
        "only looked at, layer norm",
        "d = dropout(x); a = layer_norm(d)",
        static="layer a kind=layer",
    ),
)
