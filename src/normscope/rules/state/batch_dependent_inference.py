from __future__ import annotations

from collections.abc import Iterator

from normscope.concepts.dependence import COUPLED, Use, uses_of, weight
from normscope.concepts.wording import batch_norms
from normscope.finding import Finding, Measured, Remedy, Steps
from normscope.graph.model import Graph
from normscope.probes.results import Gap
from normscope.record.recording import Layer, Model, Recording
from normscope.rule import Faulty, Healthy, rule


def by_graph(graph: Graph) -> Iterator[Finding]:
    """Without a run: the graph of the evaluation mode says it; whether anything is scored by it is not known."""
    if graph.training:
        return
    found = [
        (n, op)
        for n, op in graph.norms()
        if op.kind == "batch" and op.batch_stats and n.shape[:1] != (1,)
    ]
    if not found:
        return
    paths = tuple(dict.fromkeys(n.path for n, _ in found))
    count = batch_norms(len(paths))
    without = all(not op.tracks for _, op in found)
    cause = "no running statistics are kept" if without else "a training flag is fixed"
    todo = "Keep running statistics" if without else "Pass `training=self.training`"
    yield Finding(
        f"In evaluation mode {count} normalize with the batch's own statistics: {cause}. {todo}, or use GroupNorm, if one "
        "sample's output is not to depend on the others.",
        severity="warning",
        confidence="medium",
        layers=paths,
        site=found[0][0].site,
        measured=(
            Measured("norms with batch statistics in evaluation", len(paths), "layers", high=0),
        ),
        repairs=(Remedy("running-statistics", "changes-function", _USUAL),),
    )


_USUAL = "`nn.BatchNorm2d(channels)` without `track_running_stats=False`"


@rule(
    "NS407",
    severity="error",
    since="0.1.0",
    explains=("NS302", "NS408", "NS601"),
    static=by_graph,
)
def batch_dependent_inference(recording: Recording) -> Iterator[Finding]:
    """In evaluation mode the output for one sample depends on the others in its batch.

    ## What it checks
    Forwards that nothing was learned from, of a model in evaluation mode, in which a batch norm normalized with the
    batch's own statistics. The gap probe adds how much an output changes when its batch mates are exchanged.

    ## Why it matters
    `eval()` was called and had no effect on these layers. The score depends on batch size and order of the evaluation data,
    one sample at a time gives another answer (or an error), and an exported model another one still.

    ## Example
    ```python
    nn.BatchNorm2d(64, track_running_stats=False)  # no running statistics: eval() cannot use them
    F.batch_norm(x, self.mean, self.var, training=True)  # pass self.training instead
    ```

    ## Repair
    Keep running statistics (the default), pass `training=self.training` to functional calls, and hold layers in
    `nn.ModuleList` or `nn.ModuleDict` so that `eval()` reaches them. Where dependence within a sample is wanted, use GroupNorm or
    InstanceNorm.

    ## Known limits
    InstanceNorm and GroupNorm normalize each sample by itself and are silent. Batches of one sample are
    ignored where training met such batches alone. Blocks of forwards that are followed by an ordinary evaluation recompute the statistics and are silent. Deliberate transductive
    evaluation (few-shot learning) looks the same: then the finding states the setting of the score. Of a model that was
    only looked at, it is a warning.

    ## References
    - PyTorch, *torch.nn.BatchNorm2d*. https://docs.pytorch.org/docs/stable/generated/torch.nn.BatchNorm2d.html
    - Bronskill et al., *TaskNorm*, 2020. https://arxiv.org/abs/2003.03284
    """
    gaps = {g.model: g for g in recording.measurements.get("gap", []) if isinstance(g, Gap)}
    for model in recording.models.values():
        uses = uses_of(recording, model)
        layers = dict.fromkeys(k for _, _, used in uses for k in used)
        if layers:
            yield _finding(
                model,
                uses,
                [recording.layers[k] for k in layers],
                gaps.get(model.id),
            )


def _finding(
    model: Model,
    uses: list[Use],
    layers: list[Layer],
    gap: Gap | None,
) -> Finding:
    forwards = sum(s.forwards for s, _, _ in uses)
    scored = sum(s.scored for s, _, _ in uses)
    site = next((p.site for _, p, _ in uses if p.site), None)
    where = f" at {site}" if site else ""
    coupling = gap.coupling if gap else None
    severity, confidence = weight(model, uses, coupling)
    proof = (
        f" Other batch mates change an output by {coupling:.2g} of its standard deviation."
        if coupling is not None
        else ""
    )
    cause, todo = _cause(layers)
    measured = [Measured("forwards with batch statistics", forwards, "forwards", high=0.0)]
    measured.append(Measured("of them scored", scored, "forwards", high=0.0))
    if coupling is not None:
        measured.append(Measured("coupling of batch mates", coupling, "output sd", high=COUPLED))
    count = batch_norms(len(layers))
    return Finding(
        f"In evaluation mode {count} of `{model.name}` normalized with the batch's own statistics{where} "
        f"({forwards} forwards): {cause}.{proof} {todo}.",
        severity=severity,
        confidence=confidence,
        model=model.name,
        layers=tuple(x.path for x in layers),
        site=site,
        steps=Steps(
            min(s.first_step for s, _, _ in uses),
            max(s.last_step for s, _, _ in uses),
            sum(s.blocks for s, _, _ in uses),
        ),
        measured=tuple(measured),
        repairs=(Remedy("running-statistics", "changes-function", _command(layers)),),
    )


def _cause(layers: list[Layer]) -> tuple[str, str]:
    if all(not x.tracks for x in layers):
        return (
            "they keep no running statistics (`track_running_stats=False`)",
            "Remove that setting and train again, or use GroupNorm",
        )
    if all(not x.registered and x.type != "batch_norm" for x in layers):
        return (
            "`eval()` does not reach them, because they are in no module's children (a plain list or dict, or built in "
            "`forward`)",
            "Hold them in `nn.ModuleList` or `nn.ModuleDict`",
        )
    return (
        "they keep running statistics but ran with a training flag that `eval()` did not switch",
        "Pass `training=self.training`, and do not call `train()` on parts of the model while it is evaluated",
    )


def _command(layers: list[Layer]) -> str:
    if all(not x.tracks for x in layers):
        return _USUAL
    if all(not x.registered and x.type != "batch_norm" for x in layers):
        return "`self.layers = nn.ModuleList(layers)`"
    return "`F.batch_norm(x, mean, var, weight, bias, training=self.training)`"


_COUPLED = "infer a mode=train root=eval updates=False"

CASES = (
    Faulty(
        "layers without running statistics",
        ("a",),
        story=f"layer a tracks=False; train a x50; {_COUPLED} x4 scored=4",
        severity="error",
    ),
    Faulty(
        "functional call with a fixed flag",
        ("a",),
        story="layer a type='batch_norm' registered=False; train a x50; infer a root=eval x4 scored=4",
        severity="error",
    ),
    Faulty(
        "a list that eval does not reach",
        ("a",),
        story="layer a registered=False; layer b; train a,b x50; infer a root=eval x4",
        severity="warning",
    ),
    Healthy("running statistics", story="layer a; train a x50; infer a mode=eval x4 scored=4"),
    Healthy(
        "instance norm",
        story=f"layer a kind='instance' tracks=False; train a x50; {_COUPLED} x4 scored=4",
    ),
    Healthy(
        "statistics recomputed in an otherwise evaluated model",
        story="layer a; train a x50; infer a root=eval x9 then=evaluation; infer a mode=eval scored=1",
    ),
    Faulty(
        "batches of two sizes, nothing recomputed",
        ("a",),
        story="layer a tracks=False; train a x50; infer a root=eval updates=False x9 scored=9 then=training; "
        "infer a root=eval updates=False batch=7 blocks=0 scored=1; train a x50",
        severity="error",
    ),
    Healthy(
        "statistics recomputed with batches of two sizes",
        story="layer a; train a x50; infer a root=eval x9 blocks=0; infer a root=eval batch=7 then=evaluation; "
        "infer a mode=eval scored=1",
    ),
    Healthy(
        "one sample at a time, in training too",
        story=f"layer a tracks=False; train a batch=1 values=64 x50; {_COUPLED} batch=1 values=64 x4 scored=4",
    ),
    Faulty(
        "one sample at a time, after training on batches",
        ("a",),
        story=f"layer a tracks=False; train a x50; {_COUPLED} batch=1 values=64 x4 scored=4",
        severity="error",
    ),
    Healthy("before training", story=f"layer a tracks=False; {_COUPLED} x2; train a x50"),
    Healthy(
        "a generator",
        story=f"model feeds=(1,); layer a tracks=False; train a x50; {_COUPLED} x4",
        at_most="info",
    ),
    Faulty(
        "no running statistics, only looked at",
        ("a",),
        "c = conv(x); a = batch_norm(c, batch_stats=True, tracks=False); y = relu(a)",
        evaluating=True,
        severity="warning",
    ),
    Healthy(
        "running statistics, only looked at",
        "c = conv(x); a = batch_norm(c, batch_stats=False); y = relu(a)",
        evaluating=True,
    ),
    Healthy(
        "no running statistics in training mode, only looked at",
        "c = conv(x); a = batch_norm(c, batch_stats=True, tracks=False); y = relu(a)",
    ),
    Healthy(
        "instance norm, only looked at",
        "c = conv(x); a = instance_norm(c, batch_stats=True, tracks=False); y = relu(a)",
        evaluating=True,
    ),
    Healthy(
        "one sample, only looked at",
        "c = conv(x); a = batch_norm(c, batch_stats=True, tracks=False, shape=(1, 8, 4, 4)); y = relu(a)",
        evaluating=True,
    ),
)
