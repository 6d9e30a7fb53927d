from __future__ import annotations

from collections.abc import Iterator

from normscope.concepts.contrast import Told, told_apart
from normscope.finding import Finding, Measured, Remedy
from normscope.graph.model import Graph, Node, Norm
from normscope.probes.results import Gap, Reading
from normscope.record.recording import Contrast, Layer, Recording
from normscope.rule import Faulty, Healthy, rule


def at_first_sight(graph: Graph) -> Iterator[Finding]:
    """Without data nothing tells whether the inputs differ."""
    calls: dict[str, list[Node]] = {}
    for node, norm in graph.norms():
        if norm.kind == "batch" and norm.batch_stats and norm.tracks and node.path:
            calls.setdefault(node.path, []).append(node)
    depends = _dependent(graph)
    shared = {p: n for p, n in calls.items() if len(n) > 1 and depends.get(p) is False}
    if shared:
        path, nodes = max(shared.items(), key=lambda item: len(item[1]))
        more = f" (and {len(shared) - 1} more)" if len(shared) > 1 else ""
        yield Finding(
            f"`{path}`{more} normalizes {len(nodes)} inputs within one forward, each by itself, and keeps one set of running statistics for "
            "all. Train under observation to see whether their distributions differ.",
            severity="info",
            confidence="low",
            layers=tuple(shared),
            site=nodes[0].site,
            measured=(Measured("independent calls in one forward", len(nodes), "calls", high=1),),
        )


@rule(
    "NS107",
    severity="error",
    since="0.1.0",
    explains=("NS408", "NS601"),
    static=at_first_sight,
)
def shared_batchnorm(recording: Recording) -> Iterator[Finding]:
    r"""One batch norm normalizes several inputs of different distribution within one forward.

    ## What it checks
    Layers with several training calls in one forward, of which none reads what an earlier one gave: branches of a siamese
    network, one head on several levels of a pyramid. On sampled steps the running statistics are read around each
    call, which gives back each call's batch mean $m$ and variance $v$. Over $n \ge 8$ steps, the paired differences between a
    later call and the first, $(m' - m)/\sqrt{(v + v')/2}$ and $\ln(v'/v)$, must be systematic ($t > 5 + 75/(n - 1)$, pooled
    over channels: chance exceeds it once in a million) and large: 0.5 standard deviations rms over channels, and
    twice $\sqrt{2/N}$, by which two random batches of $N$ samples differ; or a factor of 2 between variances. By itself it is an
    info. It is a warning where the script evaluates the model with running statistics and the gap probe measures
    that these, or recomputed ones, do worse than batch statistics; as the cause of a worse finding it takes over its severity.

    ## Why it matters
    In training every input is normalized by its own batch. There is one set of running statistics, an average over all of
    them: its variance is that within the inputs, without that between them. In evaluation each input is shifted and scaled by what
    fits none. Recomputing does not help, since one mean cannot be several. Measured: a siamese network on two kinds of
    pictures falls from 92 % to 66 % accuracy, a detector's head on three levels from 0.82 to 0.47 F1.

    ## Example
    ```python
    bn = nn.BatchNorm1d(32)
    a, b = bn(fc(visible)), bn(fc(infrared))  # NS107: two kinds of input, one set of statistics
    ```

    ## Repair
    One batch norm for each input, with shared weights elsewhere, as detectors do for their levels; GroupNorm; or inputs brought to the
    same scale beforehand.

    ## Known limits
    Silent when the calls' inputs are exchangeable (two views of the same images), when a later call depends on an earlier one (a
    recurrence: NS106), when fewer than eight steps were sampled, and when the statistics of single calls cannot be recovered
    (half-precision buffers, tiny momentum, compiled or synchronized layers); an info when no graph tells how the calls depend on each other.
    Each layer's first twelve calls a step are told apart. Calibrated on 192 seeded
    healthy runs of 16 kinds with several calls a step (accumulation, two views, siamese and triplet networks, clips, labelled and unlabelled
    batches, sharpness-aware minimization, LBFGS, the same unshuffled parts at every step): none was flagged, no difference was larger than 0.8
    of its bound, and no t than 0.9 of its own where batches are drawn at random.

    ## References
    - Wu & Johnson, *Rethinking "Batch" in BatchNorm*, 2021, section 5.2 (RetinaNet's head on five levels). https://arxiv.org/abs/2105.07576
    - Székely & Bakirov, *Extremal probabilities for Gaussian quadratic forms*, 2003 (the bound on pooled t).
      https://doi.org/10.1007/s00440-003-0262-6
    """
    order = {g.model: _dependent(g) for g in recording.graphs}

    def side_by_side(layer: Layer, c: Contrast) -> bool:
        return c.forward == 0 and c.position > 0 and not order.get(layer.model, {}).get(layer.path)

    def known(told: Told) -> bool:
        paths = order.get(told.model.id, {})
        return all(path in paths for path in told.layers)

    for told in told_apart(recording, side_by_side):
        widest = told.found[0][0]
        calls = [c.position for c in recording.contrasts if c.layer == widest.id]
        yield _finding(told, inputs=1 + max(calls), certain=known(told))


def _dependent(graph: Graph) -> dict[str, bool]:
    """For each norm with several calls, by path: whether a later call reads, at any distance, what an earlier one gave."""
    calls: dict[str, list[str]] = {}
    for node, _ in graph.norms():
        calls.setdefault(node.path, []).append(node.id)
    return {path: _reaches(graph, ids) for path, ids in calls.items() if len(ids) > 1}


def _reaches(graph: Graph, ids: list[str]) -> bool:
    same, below = set(ids), set[str]()
    for node in graph:
        fed = any(i in below or i in same for i in node.inputs)
        if fed and node.id in same and isinstance(node.op, Norm):
            return True
        if fed:
            below.add(node.id)
    return False


def _finding(told: Told, *, inputs: int, certain: bool) -> Finding:
    layer, _ = told.found[0]
    others = len(told.layers) - 1
    more = "" if not others else f" (and {others} more)"
    return Finding(
        f"`{layer.path or layer.type}`{more} normalizes {inputs} inputs within one forward of `{told.model.name}`, each by itself, though their "
        f"{told.difference()}: the one set of running statistics fits none of them in evaluation.{told.cost()} "
        "Give each input a batch norm of its own, or use GroupNorm.",
        severity=told.severity if certain else "info",
        confidence="high" if told.severity == "warning" else "medium",
        model=told.model.name,
        layers=told.layers,
        site=layer.site,
        measured=told.measured(),
        repairs=(
            Remedy(
                "norm-per-input",
                "changes-function",
                "`nn.ModuleList(nn.BatchNorm2d(channels) for _ in inputs)`, one call each",
            ),
            Remedy("group-norm", "changes-function", "`nn.GroupNorm(groups, channels)`"),
        ),
    )


def _gap(batch: float, population: float, running: float, **more: object) -> dict[str, object]:
    facts: dict[str, object] = {"measure": "error", "unit": "1", "relied_on": True}
    return {
        "gap": Gap(
            model=0,
            name="Net",
            samples=2000,
            batches=32,
            batch=Reading(batch, 0.003),
            population=Reading(population, 0.003),
            running=Reading(running, 0.003),
            stale=Reading(running - population, 0.003),
            inconsistent=Reading(population - batch, 0.003),
            **(facts | more),  # pyright: ignore[reportArgumentType]
        )
    }


_SIDE = "a = batch_norm(x, path='bn'); b = batch_norm(y, path='bn'); c = concat(a, b)"
_IN_TURN = "a = batch_norm(x, path='bn'); b = linear(a); c = batch_norm(b, path='bn')"
_RUN = "layer bn; train bn x100; "

CASES = (
    Faulty(
        "two kinds of input, and it costs",
        ("bn",),
        sketch=_SIDE,
        story=_RUN + "contrast bn position=1 mean=2.0",
        measured=_gap(0.02, 0.2, 0.25),
        severity="warning",
    ),
    Faulty(
        "levels of different variance",
        ("bn",),
        sketch=_SIDE,
        story=_RUN + "contrast bn position=1 log_var=1.2; contrast bn position=2 log_var=2.5",
        measured=_gap(0.02, 0.08, 0.08),
        severity="warning",
    ),
    Faulty(
        "rare decisions stand, the loss is many times higher",
        ("bn",),
        sketch=_SIDE,
        story=_RUN + "contrast bn position=1 mean=2.0",
        measured=_gap(
            0.01,
            0.08,
            0.1,
            measure="loss",
            unit="nats",
            error_batch=0.004,
            error_population=0.008,
            error_running=0.01,
        ),
        severity="warning",
    ),
    Faulty(
        "no gap is measured",
        ("bn",),
        sketch=_SIDE,
        story=_RUN + "contrast bn position=1 mean=2.0",
        measured=_gap(0.02, 0.02, 0.02),
        severity="info",
    ),
    Faulty(
        "nothing was probed",
        ("bn",),
        sketch=_SIDE,
        story=_RUN + "contrast bn position=1 mean=0.6",
        severity="info",
    ),
    Faulty(
        "never evaluated with running statistics",
        ("bn",),
        sketch=_SIDE,
        story=_RUN + "contrast bn position=1 mean=2.0",
        measured=_gap(0.02, 0.2, 0.25, relied_on=False),
        severity="info",
    ),
    Faulty(
        "no graph tells whether it is a recurrence",
        ("bn",),
        story=_RUN + "contrast bn position=1 mean=2.0",
        measured=_gap(0.02, 0.2, 0.25),
        severity="info",
    ),
    Healthy(
        "a recurrence is another rule's",
        sketch=_IN_TURN,
        story=_RUN + "contrast bn position=1 mean=2.0",
        measured=_gap(0.02, 0.2, 0.25),
    ),
    Healthy(
        "another forward is another rule's",
        sketch=_SIDE,
        story=_RUN + "contrast bn mean=2.0",
        measured=_gap(0.02, 0.2, 0.25),
    ),
    Healthy(
        "two views of the same images",
        sketch=_SIDE,
        story=_RUN + "contrast bn position=1 mean=0.05 mean_t=1.2 log_var=0.02 log_var_t=0.8",
        measured=_gap(0.02, 0.2, 0.25),
    ),
    Healthy(
        "certain, but small",
        sketch=_SIDE,
        story=_RUN + "contrast bn position=1 mean=0.45 log_var=0.6",
        measured=_gap(0.02, 0.2, 0.25),
    ),
    Healthy(
        "large, but not certain",
        sketch=_SIDE,
        story=_RUN + "contrast bn position=1 mean=0.8 mean_t=7.4 log_var=0.9 log_var_t=7.4",
        measured=_gap(0.02, 0.2, 0.25),
    ),
    Healthy(
        "seven sampled steps",
        sketch=_SIDE,
        story=_RUN + "contrast bn position=1 mean=2.0 mean_t=90.0 steps=7",
        measured=_gap(0.02, 0.2, 0.25),
    ),
    Healthy(
        "no more than batches of eight differ by",
        sketch=_SIDE,
        story=_RUN + "contrast bn position=1 mean=0.9 samples=8",
        measured=_gap(0.02, 0.2, 0.25),
    ),
    Healthy(
        "statistics of single calls are not known",
        sketch=_SIDE,
        story=_RUN + "contrast bn position=1 mean=1e999 mean_t=0.0 recovered=0.0",
        measured=_gap(0.02, 0.2, 0.25),
    ),
    Healthy("one call a forward", sketch="a = batch_norm(x, path='bn')", story=_RUN),
    Faulty("only looked at", ("bn",), sketch=_SIDE, static="layer bn", severity="info"),
    Healthy(
        "only looked at, a recurrence",
        sketch="a = batch_norm(x, path='bn'); l = linear(a); b = batch_norm(l, path='bn')",
        static="layer bn",
    ),
    Healthy("only looked at, one call", sketch="a = batch_norm(x, path='bn')", static="layer bn"),
    Healthy(
        "only looked at, in evaluation",
        sketch="a = batch_norm(x, path='bn', batch_stats=False); b = batch_norm(y, path='bn', batch_stats=False)",
        static="layer bn",
        evaluating=True,
    ),
    Healthy(
        "only looked at, layer norm on two inputs",
        sketch="a = layer_norm(x, path='bn'); b = layer_norm(y, path='bn')",
        static="layer bn kind=layer tracks=False",
    ),
)
