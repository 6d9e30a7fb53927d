from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import exp

from normscope.concepts.paths import flood, longest
from normscope.concepts.wording import named
from normscope.finding import SEVERITIES, Confidence, Finding, Measured, Remedy, Severity
from normscope.graph.model import Affine, Cast, Graph, Node, Norm, View
from normscope.probes import thresholds
from normscope.probes.results import Gap, Reading, gap_of
from normscope.record.recording import Layer, Recording
from normscope.rule import Faulty, Healthy, rule

MEANS = 0.5  # standard deviations between the batch means of two steps
VARIANCES = 0.69  # ln 2: one step's variance is twice another's
SURE = 5.0  # standard errors; many steps are looked at
FAR = 1.0  # standard deviations between outputs, where nothing tells better from worse


def at_first_sight(graph: Graph) -> Iterator[Finding]:
    """Without a run nothing tells what it costs."""
    seen = dict.fromkeys(n.path for n, op in graph.norms() if op.kind == "batch" and n.path)
    shared = {path: steps for path in seen if (steps := recurring(graph, path)) > 1}
    if shared:
        path, steps = max(shared.items(), key=lambda item: item[1])
        yield Finding(
            f"`{path}` normalizes all {steps} steps of a recurrence with one mean and variance. Train under observation to see "
            "what that costs.",
            severity="info",
            confidence="low",
            layers=tuple(shared),
            site=next((n.site for n, _ in graph.norms() if n.path == path), None),
            measured=(Measured("dependent calls in one forward", steps, "calls", high=1),),
        )


@rule(
    "NS106",
    severity="error",
    since="0.1.0",
    explains=("NS107", "NS405", "NS408", "NS504", "NS601"),
    static=at_first_sight,
)
def batchnorm_in_recurrence(graph: Graph, recording: Recording) -> Iterator[Finding]:
    r"""One batch norm normalizes every step of a recurrence.

    ## What it checks
    A batch norm that is called several times in one forward, where a later call's input depends on an earlier call's output through
    weights that are shared as well: a recurrent cell, or a block that is applied again and again to its own result. Then, what it
    costs: the gap probe's answer, and how far the batch statistics of the steps lie apart.

    ## Why it matters
    The state at step 1 and at step 20 has different means and variances, and each step is trained with its own. The layer keeps one
    running mean and variance for all of them: a mixture that fits no step, and, as T calls move it T times, one in which the last steps outweigh
    the first: momentum α acts as $1 - (1 - α)^T$. Evaluation normalizes every step wrongly, and the errors add up along the
    recurrence. Measured, accuracy with a shared batch norm and without: hand-written cell, 20 steps, 0.247 and 0.877; LSTM gates and cell
    state, 24 steps, 0.680 and 0.871; six refinement steps, explained variance 0.791 and 0.848.

    ## Example
    ```python
    for x in sequence:
        h = torch.tanh(self.norm(self.read(x) + self.recall(h)))  # NS106: one BatchNorm1d for all steps
    ```

    ## Repair
    LayerNorm in the recurrence; batch norm on the input projection only, over all steps at once; or a batch norm
    for each step (`nn.ModuleList`), with a scale that starts at 0.1, as recurrent batch normalization has it.

    ## Known limits
    Silent when the calls do not depend on each other (heads shared by several inputs, siamese networks, projections of the inputs), when each step has its own
    norm, when the weights between two calls are not shared (one norm used at two places), with stored statistics, and where norm and weights are
    functional calls of one module, whose tensors the graph does not tell apart. An info where the gap probe finds batch, recomputed and running
    statistics to agree, where the steps' statistics differ by less than 0.5 standard deviations and a factor of 2 in
    variance, and where nothing was measured.

    ## References
    - Cooijmans et al., *Recurrent Batch Normalization*, 2017, sections 3 and 4. https://arxiv.org/abs/1603.09025
    - Laurent et al., *Batch Normalized Recurrent Neural Networks*, 2016, section 3. https://arxiv.org/abs/1510.01378
    """
    gap = gap_of(recording.measurements.get("gap", ()), graph.model)
    seen = dict.fromkeys(n.path for n, op in graph.norms() if op.kind == "batch" and n.path)
    shared = [(path, steps) for path in seen if (steps := recurring(graph, path)) > 1]
    found = [
        Recurrence(layer, steps, apart(recording, layer))
        for path, steps in shared
        if (layer := recording.layer_at(graph.model, path)) and layer.tracks
    ]
    if found:
        yield finding(graph, found, gap)


@dataclass(frozen=True, slots=True)
class Apart:
    """A step's batch means from the first step's, in standard deviations, and the ratio of the variances, as a logarithm."""

    step: int
    mean: float
    log_var: float


@dataclass(frozen=True, slots=True)
class Recurrence:
    """A layer, the length of its longest chain of dependent calls, and how far the steps lie apart (None: not measured)."""

    layer: Layer
    steps: int
    apart: Apart | None

    @property
    def differs(self) -> bool | None:
        if self.apart is None:
            return None
        return self.apart.mean >= MEANS or self.apart.log_var >= VARIANCES


def recurring(graph: Graph, path: str) -> int:
    """The length of the longest chain of dependent calls of the norm at `path`, if shared weights lie between them; else 0."""
    nodes = graph.at(path)
    calls = [
        n for n in nodes if isinstance(n.op, Norm) and n.op.kind == "batch" and n.op.batch_stats
    ]
    alone = all(isinstance(n.op, (Norm, Cast, View)) for n in nodes)
    if len(calls) < 2 or not alone:
        return 0
    chain = longest(graph, {n.id for n in calls})
    if len(chain) < 2:
        return 0
    between = flood([chain[0]], graph.readers) & flood([chain[1]], graph.inputs)
    weights = [graph[i] for i in between if isinstance(graph[i].op, Affine)]
    if not weights:
        return len(chain) if len(chain) > 2 else 0
    return len(chain) if any(reused(graph, w) for w in weights) else 0


def reused(graph: Graph, weights: Node) -> bool:
    """Whether these weights are used more than once: by their own module, or by one line of a module that holds several."""
    calls = graph.calls(weights)
    own = all(isinstance(n.op, (Affine, Cast, View)) for n in graph.at(weights.path))
    return len(calls if own else [n for n in calls if n.site == weights.site]) > 1


def apart(recording: Recording, layer: Layer) -> Apart | None:
    """The call of one forward that lies furthest from the first; a difference within the noise counts as none."""
    later = [
        Apart(
            c.position + 1,
            c.mean if c.mean_t >= SURE else 0.0,
            c.log_var if c.log_var_t >= SURE else 0.0,
        )
        for c in recording.contrasts
        if c.layer == layer.id and c.forward == 0 and c.position > 0
    ]
    return max(later, key=lambda a: max(a.mean / MEANS, a.log_var / VARIANCES), default=None)


def cost(gap: Gap | None) -> Severity | None:
    """What the probe says the statistics cost: None where it does not say."""
    if gap is None:
        return None
    if gap.measure == "output" and FAR <= gap.batch.value > 3 * gap.population.value:
        return "warning"
    parts = (thresholds.inconsistency(gap), thresholds.staleness(gap))
    found: list[Severity] = [s for s in parts if s is not None]
    if found:
        return max(found, key=SEVERITIES.index)
    if gap.measure != "output" and thresholds.calm(gap):
        return "info"
    return None


def judge(found: list[Recurrence], gap: Gap | None) -> tuple[Severity, Confidence]:
    """By what the probe measured; where it did not, by how far the steps lie apart."""
    differ = [r.differs for r in found]
    if all(d is False for d in differ):
        return "info", "high"
    measured = cost(gap)
    if measured:
        return measured, "high" if any(differ) else "medium"
    return ("warning", "medium") if any(differ) else ("info", "low")


def finding(graph: Graph, found: list[Recurrence], gap: Gap | None) -> Finding:
    severity, confidence = judge(found, gap)
    worst = max(found, key=lambda r: (r.differs or False, r.steps))
    layer, steps = worst.layer, worst.steps
    alpha = layer.momentum
    acts = (
        f" Momentum {alpha:g} acts as {1 - (1 - alpha) ** steps:.2g} a training step."
        if alpha
        else ""
    )
    names = named([r.layer for r in found])
    todo = (
        "Use LayerNorm inside the recurrence, or a norm for each step."
        if severity != "info"
        else "Nothing was measured to suffer from it."
    )
    keep = "keeps" if len(found) == 1 else "keep"
    return Finding(
        f"{names} {keep} one mean and variance for all {steps} steps of a recurrence{distance(worst)}{price(gap)}.{acts} {todo}",
        severity=severity,
        confidence=confidence,
        layers=tuple(r.layer.path for r in found),
        site=next((n.site for n, _ in graph.norms() if n.path == layer.path), None),
        measured=(
            Measured("dependent calls in one forward", steps, "calls", high=1),
            *distances(worst),
        ),
        repairs=(
            Remedy(
                "layer norm",
                "changes-function",
                f"`nn.LayerNorm({layer.channels})` in place of `{layer.path}`",
            ),
            Remedy(
                "norm for each step",
                "changes-function",
                f"`nn.ModuleList` of {steps} batch norms, scale 0.1",
            ),
        ),
    )


def distance(worst: Recurrence) -> str:
    if not worst.apart:
        return ""
    return (
        f"; step {worst.apart.step} lies {worst.apart.mean:.2g} standard deviations and a factor of "
        f"{exp(worst.apart.log_var):.2g} in variance from step 1"
    )


def price(gap: Gap | None) -> str:
    if gap is None or cost(gap) not in ("warning", "error") or gap.measure == "output":
        return ""
    if gap.error_running is not None and gap.error_batch is not None:
        return f", and on the same training data it errs on {gap.error_running:.1%} with them, on {gap.error_batch:.1%} with each step's own"
    return f", and on the same training data the {gap.measure} is {gap.running.value:.3g} with them, {gap.batch.value:.3g} with each step's own"


def distances(worst: Recurrence) -> Iterator[Measured]:
    if worst.apart:
        yield Measured(
            "batch means, furthest step − first",
            worst.apart.mean,
            "standard deviations",
            high=MEANS,
        )
        yield Measured(
            "ln of batch variances, furthest step − first", worst.apart.log_var, "1", high=VARIANCES
        )


def _gap(a: float, b: float, c: float, **more: object) -> dict[str, object]:
    facts: dict[str, object] = {"measure": "error", "unit": "1", "samples": 2000, "batches": 32}
    return {
        "gap": Gap(
            model=0,
            name="Net",
            batch=Reading(a, 0.005),
            population=Reading(b, 0.005),
            running=Reading(c, 0.005),
            stale=Reading(c - b, 0.005),
            inconsistent=Reading(b - a, 0.005),
            **(facts | more),  # pyright: ignore[reportArgumentType]
        )
    }


def _cell(steps: int, step: str) -> str:
    """A state h0, h1, … of that many steps; `@` in `step` is replaced by the step, `#` by the next."""
    return "; ".join(
        (
            "h0 = linear(x, path='init')",
            *(step.replace("@", str(k)).replace("#", str(k + 1)) for k in range(steps)),
        )
    )


_STATE = "w@ = linear(h@, path='w'); u@ = linear(x@, path='u'); s@ = add(w@, u@); n@ = batch_norm(s@, path='a'); h# = tanh(n@)"
_TWO = "w@ = linear(h@, path='w'); n@ = batch_norm(w@, path='a'); c@ = tanh(n@); m@ = batch_norm(c@, path='b'); h# = add(h@, m@)"
_LAYER = "layer a; train a x50"
_APART = "; contrast a position=3 steps=40 mean=0.8 mean_t=30.0 log_var=1.2 log_var_t=30.0"
_NEAR = "; contrast a position=3 steps=40 mean=0.4 mean_t=30.0 log_var=0.6 log_var_t=30.0"

CASES = (
    Faulty(
        "state of a cell, and it costs",
        ("a",),
        _cell(8, _STATE),
        _LAYER,
        _gap(0.02, 0.3, 0.4),
        severity="error",
    ),
    Faulty(
        "a little", ("a",), _cell(8, _STATE), _LAYER, _gap(0.02, 0.03, 0.07), severity="warning"
    ),
    Faulty(
        "steps lie apart, the cost is unknown",
        ("a",),
        _cell(8, _STATE),
        _LAYER + _APART,
        severity="warning",
    ),
    Faulty(
        "outputs move far, without targets",
        ("a",),
        _cell(8, _STATE),
        _LAYER + _APART,
        _gap(1.4, 0.1, 0.3, measure="output"),
        severity="warning",
    ),
    Faulty(
        "two norms of a weight-tied block",
        ("a", "b"),
        _cell(2, _TWO),
        "layer a; layer b; train a,b x50",
        _gap(0.02, 0.3, 0.4),
        severity="error",
    ),
    Faulty(
        "no weights between the steps, four steps",
        ("a",),
        _cell(4, "s@ = add(h@, x@); h# = batch_norm(s@, path='a')"),
        _LAYER + _APART,
    ),
    Healthy(
        "steps lie apart, the probe finds no cost",
        _cell(8, _STATE),
        _LAYER + _APART,
        _gap(0.02, 0.021, 0.022),
        at_most="info",
    ),
    Healthy(
        "a cost, but the steps are alike",
        _cell(8, _STATE),
        _LAYER + _NEAR,
        _gap(0.02, 0.3, 0.4),
        at_most="info",
    ),
    Healthy("nothing measured", _cell(8, _STATE), _LAYER, at_most="info"),
    Healthy("steps alike", _cell(8, _STATE), _LAYER + _NEAR, at_most="info"),
    Healthy(
        "a difference within the noise",
        _cell(8, _STATE),
        _LAYER + "; contrast a position=3 steps=3 mean=0.8 mean_t=2.0",
        at_most="info",
    ),
    Healthy(
        "projection of the inputs, step by step",
        _cell(
            8,
            "u@ = linear(x@, path='u'); n@ = batch_norm(u@, path='a'); w@ = linear(h@, path='w'); s@ = add(w@, n@); h# = tanh(s@)",
        ),
        _LAYER + _APART,
        _gap(0.02, 0.3, 0.4),
    ),
    Healthy(
        "a norm for each step",
        _cell(8, _STATE.replace("path='a'", "path='a@'")),
        "layer a0; train a0 x50",
        _gap(0.02, 0.3, 0.4),
    ),
    Healthy(
        "layer norm",
        _cell(8, _STATE.replace("batch_norm", "layer_norm")),
        _LAYER,
        _gap(0.02, 0.3, 0.4),
    ),
    Healthy(
        "a head shared by three inputs",
        "; ".join(
            f"c{k} = conv(x{k}, path='c'); n{k} = batch_norm(c{k}, path='a'); y{k} = linear(n{k}, path='l')"
            for k in range(3)
        ),
        _LAYER + _APART,
        _gap(0.02, 0.3, 0.4),
    ),
    Healthy(
        "one norm at two places of the depth",
        "c = conv(x); n = batch_norm(c, path='a'); r = relu(n); d = conv(r); m = batch_norm(d, path='a'); y = relu(m)",
        _LAYER + _APART,
        _gap(0.02, 0.3, 0.4),
    ),
    Healthy(
        "functional layers of one module",
        "c = linear(x, path='f'); n = batch_norm(c, path='f'); r = relu(n, path='f'); d = linear(r, path='f'); m = batch_norm(d, path='f')",
        "layer f; train f x50",
        _gap(0.02, 0.3, 0.4),
    ),
    Healthy(
        "stored statistics",
        _cell(8, _STATE.replace("path='a')", "path='a', batch_stats=False)")),
        _LAYER,
        _gap(0.02, 0.3, 0.4),
    ),
    Healthy(
        "keeps no statistics",
        _cell(8, _STATE),
        "layer a tracks=False; train a x50",
        _gap(0.02, 0.3, 0.4),
    ),
)
