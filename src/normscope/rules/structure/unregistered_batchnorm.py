from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from normscope.concepts.dependence import uses_of, weight
from normscope.concepts.registration import hidden, hidden_in, made_anew
from normscope.concepts.wording import batch_norms
from normscope.evidence import Facts
from normscope.finding import Confidence, Finding, Measured, Remedy, Severity
from normscope.graph.model import Graph
from normscope.probes.results import gap_of
from normscope.record.recording import Layer, Model, Recording
from normscope.rule import Faulty, Healthy, rule


def in_evaluation_mode(graph: Graph, facts: Facts) -> Iterator[Finding]:
    """Without a run: in the graph of the evaluation mode they still use the batch's statistics."""
    unreached = hidden_in(graph, facts)
    found = {
        n.path: n
        for n, op in graph.norms()
        if op.kind == "batch" and op.tracks and n.path in unreached
        if op.batch_stats or made_anew(n.path)
    }
    if graph.training or not found:
        return
    first = next(iter(found.values()))
    anew = not any(op.batch_stats for n, op in graph.norms() if n.path in found)
    what = f"{batch_norms(len(found))} (first `{first.path}`)"
    told = (
        f"{what} {'is' if len(found) == 1 else 'are'} built anew in every forward: what it learns and its statistics, still 0 and 1, are "
        "lost each time, so evaluation normalizes nothing."
        if anew
        else f"`eval()` does not reach {what}: no module's children lead there."
    )
    yield Finding(
        f"{told} {INSTEAD}",
        severity="warning",
        confidence="high",
        layers=tuple(found),
        site=first.site,
        measured=(Measured("batch norms outside of modules()", len(found), "layers", high=0),),
        repairs=(_REMEDY,),
    )


@rule(
    "NS110",
    severity="error",
    since="0.1.0",
    explains=("NS206", "NS302", "NS406", "NS407", "NS408", "NS410", "NS601"),
    static=in_evaluation_mode,
)
def unregistered_batchnorm(recording: Recording) -> Iterator[Finding]:
    """A batch norm is no part of its model: it was built inside `forward`, or is kept in a plain list or dict.

    ## What it checks
    Batch norm modules that ran inside a model whose `modules()` does not lead to them, and what came of it: whether they used the batch's
    statistics while the model was in evaluation mode, and whether an optimizer holds their scale and shift.

    ## Why it matters
    `eval()`, `parameters()`, `state_dict()` and `to()` walk the children of modules and see nothing else. Such a layer stays in training mode,
    its scale and shift are not trained, and neither they nor its running statistics are saved. Built inside `forward` it is also a new
    layer each time, with statistics of one batch. Measured, test accuracy with norms outside of modules and inside: built in `forward`
    0.882 and 0.945, in a plain list 0.333 and 0.983, in a plain dict of domains 0.523 and 0.999.

    ## Example
    ```python
    self.norms = [nn.BatchNorm1d(n) for n in sizes]  # NS110: eval() and state_dict() do not see them
    self.norms = nn.ModuleList([nn.BatchNorm1d(n) for n in sizes])
    ```

    ## Repair
    Build norms in `__init__` and hold them as attributes, in `nn.ModuleList` or in `nn.ModuleDict`. Train again: a checkpoint made before
    has none of their values.

    ## Known limits
    Silent when the layer never used the batch's statistics in training (a teacher kept in a list so that it is not saved with the student), and when it
    is registered at another place as well. An info when nothing came of it in this run: optimized by hand, switched by hand, or without scale and shift
    and never evaluated. Layers that keep no running statistics are NS407's. Of a model that was only looked at it is a warning.

    ## References
    - PyTorch, *torch.nn.ModuleList*. https://docs.pytorch.org/docs/stable/generated/torch.nn.ModuleList.html
    - PyTorch issue 46818, a layer built inside `forward`. https://github.com/pytorch/pytorch/issues/46818
    """
    trained = trainings(recording)
    for model in recording.models.values():
        groups: dict[object, Place] = {}
        for x in recording.layers.values():
            if x.model == model.id and hidden(x):
                # One module that ran in several forwards was not built for one of them.
                lasting = x.instances == 1 and trained[x.id].forwards > 1
                key = x.id if lasting else (x.path, x.type, x.site)
                groups.setdefault(key, Place()).layers.append(x)
        places = [p for p in groups.values() if any(trained[x.id].forwards for x in p.layers)]
        if places:
            yield finding(recording, model, places, trained)


@dataclass(slots=True)
class Training:
    """Training forwards of one layer on the batch's statistics, and those in which its scale wanted a gradient."""

    forwards: int = 0
    wanting: int = 0


@dataclass(slots=True)
class Place:
    """One layer, or those that were called from one line under one name, where each forward makes a new one."""

    layers: list[Layer] = field(default_factory=list[Layer])


def trainings(recording: Recording) -> dict[int, Training]:
    """What training did with each layer, in one pass over the spans."""
    seen = {k: Training() for k in recording.layers}
    for span in recording.spans:
        if span.kind == "training":
            for layer, wants in {
                c.layer: bool(c.trainable)
                for c in recording.patterns[span.pattern].calls
                if c.batch_stats
            }.items():
                seen[layer].forwards += span.forwards
                seen[layer].wanting += span.forwards * wants
    return seen


def finding(
    recording: Recording, model: Model, places: list[Place], trained: dict[int, Training]
) -> Finding:
    layers = [x for p in places for x in p.layers]
    ids = {x.id for x in layers if x.tracks}
    uses = [u for u in uses_of(recording, model) if ids & set(u[2])]
    forwards = sum(s.forwards for s, _, _ in uses)
    lost = [
        p
        for p in places
        if model.optimized and any(trained[x.id].wanting and not x.optimized for x in p.layers)
    ]
    severity: Severity = "warning" if lost else "info"
    confidence: Confidence = "high"
    if uses:
        gap = gap_of(recording.measurements.get("gap", ()), model.id)
        reached, confidence = weight(model, uses, gap.coupling if gap else None)
        severity = reached if reached == "error" or not lost else "warning"
    site = next((x.site for x in layers if x.site), None)
    where = f" (first at {site})" if site else ""
    anew = sum(any(x.instances > 1 for x in p.layers) for p in places)
    made = f", {anew} of them built anew in every forward" if anew else ""
    came = [
        f"`eval()` did not reach them in {forwards} forwards of the evaluation mode"
        if uses
        else "",
        f"the scale and shift of {len(lost)} were never trained" if lost else "",
        "`state_dict()` leaves them out",
    ]
    return Finding(
        f"{batch_norms(len(places))} of `{model.name}` {'is' if len(places) == 1 else 'are'} in no module's children{made}{where}: "
        f"{', '.join(c for c in came if c)}. {INSTEAD}",
        severity=severity,
        confidence=confidence,
        model=model.name,
        layers=tuple(dict.fromkeys(x.path for x in layers)),
        site=site,
        measured=(
            Measured("batch norms outside of modules()", len(places), "layers", high=0),
            Measured("of them never trained", len(lost), "layers", high=0),
            Measured("forwards that eval() did not reach", forwards, "forwards", high=0),
        ),
        repairs=(_REMEDY,),
    )


INSTEAD = "Build norms in `__init__` and hold them in `nn.ModuleList` or `nn.ModuleDict`."
_REMEDY = Remedy(
    "register the layers", "changes-function", "`self.norms = nn.ModuleList(norms)` in `__init__`"
)
_LIST = "layer a registered=False optimized=False; layer b; train a,b trainable=True x50"
_BY_HAND = "layer a registered=False optimized=True; train a trainable=True x50"
_BARE = "layer a registered=False affine=False optimized=False; train a x50"
_EVALUATING = "c = conv(x); a = batch_norm(c, batch_stats=True); y = relu(a)"

CASES = (
    Faulty(
        "a plain list, scored",
        ("a",),
        story=f"{_LIST}; infer a root=eval x4 scored=4",
        severity="error",
    ),
    Faulty(
        "built anew in every forward",
        ("a",),
        story="layer a registered=False optimized=False instances=51; train a trainable=True x50; infer a root=eval scored=1",
        severity="error",
    ),
    Faulty("never evaluated, never trained", ("a",), story=_LIST, severity="warning"),
    Faulty(
        "optimized by hand, but eval does not reach it",
        ("a",),
        story=f"{_BY_HAND}; infer a root=eval x4 scored=4",
        severity="error",
    ),
    Faulty(
        "without scale and shift, in a dict of domains",
        ("a",),
        story=f"{_BARE}; infer a root=eval x4 scored=4",
        severity="error",
    ),
    Faulty(
        "a plain list, only looked at",
        ("a",),
        _EVALUATING,
        static="layer a registered=False",
        evaluating=True,
        severity="warning",
    ),
    Faulty(
        "built in forward, only looked at",
        ("block.BatchNorm2d()",),
        _EVALUATING.replace("batch_norm(c", "batch_norm(c, path='block.BatchNorm2d()'"),
        static="layer b",
        evaluating=True,
        severity="warning",
    ),
    Healthy("registered", story="layer a; train a x50; infer a mode=eval x4 scored=4"),
    Healthy(
        "optimized and switched by hand",
        story=f"{_BY_HAND}; infer a mode=eval x4 scored=4",
        at_most="info",
    ),
    Healthy(
        "a teacher in evaluation mode",
        story="layer a registered=False optimized=False; train a mode=eval x50",
    ),
    Healthy(
        "a momentum encoder that wants no gradient",
        story="layer a registered=False optimized=False; layer b; train a,b trainable=False x50",
        at_most="info",
    ),
    Healthy("standardized features in a loss", story=_BARE, at_most="info"),
    Healthy(
        "a functional call",
        story="layer a type='batch_norm' registered=False; train a x50; infer a root=eval x4 scored=4",
    ),
    Healthy(
        "keeps no running statistics",
        story="layer a registered=False affine=False tracks=False; train a x50; infer a root=eval x4 scored=4",
        at_most="info",
    ),
    Healthy(
        "layer norm in a list",
        story="layer a kind='layer' registered=False optimized=False; train a mode=eval x50",
    ),
    Healthy(
        "used in evaluation only",
        story="layer a registered=False optimized=False; layer b; train b x50; infer a root=eval x4",
    ),
    Healthy(
        "statistics recomputed, then evaluated",
        story=f"{_BY_HAND}; infer a root=eval x9 then=evaluation; infer a mode=eval x4 scored=4",
        at_most="info",
    ),
    Faulty(
        "built in forward and in evaluation mode there, only looked at",
        ("block/batch_normalization()",),
        _EVALUATING.replace(
            "batch_norm(c", "batch_norm(c, path='block/batch_normalization()'"
        ).replace("=True", "=False"),
        static="layer b",
        evaluating=True,
        severity="warning",
    ),
    Healthy(
        "a teacher, only looked at",
        _EVALUATING.replace("=True", "=False"),
        static="layer a registered=False",
        evaluating=True,
    ),
    Healthy(
        "a list in training mode, only looked at", _EVALUATING, static="layer a registered=False"
    ),
    Healthy("a fixed flag, only looked at", _EVALUATING, static="layer a", evaluating=True),
)
