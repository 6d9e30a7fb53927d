from __future__ import annotations

from collections.abc import Iterator

from normscope.concepts.dependence import COUPLED, Use, uses_of, weight
from normscope.concepts.registration import hidden, hidden_in
from normscope.concepts.wording import batch_norms
from normscope.evidence import Facts
from normscope.finding import Finding, Measured, Remedy, Steps
from normscope.graph.model import Graph
from normscope.probes.results import gap_of
from normscope.record.recording import Layer, Model, Recording
from normscope.rule import Faulty, Healthy, rule


def in_evaluation_mode(graph: Graph, facts: Facts) -> Iterator[Finding]:
    """Without a run: the graph of the evaluation mode shows it; whether anything is scored by it is not known."""
    unreached = hidden_in(graph, facts)
    found = {
        n.path: n
        for n, op in graph.norms()
        if op.kind == "batch" and op.batch_stats and op.tracks and n.path not in unreached
    }
    if graph.training or not found:
        return
    first = next(iter(found.values()))
    yield Finding(
        f"In evaluation mode {batch_norms(len(found))} (first `{first.path}`) normalize with the batch's own statistics although they keep running "
        "ones: their training flag is fixed. Pass `training=self.training`.",
        severity="warning",
        confidence="medium",
        layers=tuple(found),
        site=first.site,
        measured=(Measured("norms whose flag is fixed", len(found), "layers", high=0),),
        repairs=(_REMEDY,),
    )


@rule(
    "NS111",
    severity="error",
    since="0.1.0",
    explains=("NS302", "NS401", "NS407", "NS408", "NS601"),
    static=in_evaluation_mode,
)
def hard_coded_training_flag(recording: Recording) -> Iterator[Finding]:
    """A batch norm ignores `eval()`, because its training flag is fixed.

    ## What it checks
    Layers that keep running statistics and nevertheless used the batch's own in every forward of their model in evaluation mode, and
    that `eval()` would reach. The flag of a functional call is a constant, comes from settings, or `forward` itself calls `train()`.

    ## Why it matters
    The running statistics are kept up and never used. The answer for one sample depends on the samples beside it: a shuffled
    test set hides it, sorted data and single samples do not. Measured on test data in the order in which it is stored, accuracy with
    the flag fixed and with `self.training`: 1-D signals 0.417 and 1.000, volumes 0.417 and 0.767, a table 0.340 and 0.943,
    digits 0.283 and 0.992.

    ## Example
    ```python
    F.batch_norm(x, self.mean, self.var, training=True)  # NS111: eval() cannot change it
    F.batch_norm(x, self.mean, self.var, training=self.training)
    ```

    In Keras 3, `self.norm(x, training=True)` inside `call` reaches further: the argument holds for every layer that is called after it in the
    same outermost call, so dropout is active in inference too (measured on 3.15).

    ## Repair
    `training=self.training` in functional calls; in a network without modules hand the flag on as an argument. No `train()` inside `forward`.
    No new training is needed: the running statistics were updated all along; recompute them when in doubt.

    ## Known limits
    Silent when a layer keeps no running statistics (a functional call on `None, None` has no choice, see NS407), when `eval()` does not reach it (NS110),
    when it used stored statistics in other forwards in evaluation mode (then something switched it, as adaptation to test data does), when an
    ordinary evaluation follows (statistics were recomputed), for batches of one sample in training too, and when the model never ran in evaluation mode. A flag
    that is fixed at False is NS404's. Evaluation on batch statistics by design (few-shot learning) looks the same. Of a model that was only looked
    at it is a warning.

    ## References
    - PyTorch, *torch.nn.functional.batch_norm*. https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.batch_norm.html
    - Ioffe & Szegedy, *Batch Normalization*, 2015, section 3.1. https://arxiv.org/abs/1502.03167
    """
    for model in recording.models.values():
        uses = uses_of(recording, model)
        switched = followed_eval(recording, model)
        layers = [
            x
            for k in dict.fromkeys(k for _, _, used in uses for k in used)
            if (x := recording.layers[k]).tracks and not hidden(x) and k not in switched
        ]
        if layers:
            yield finding(recording, model, uses, layers)


def followed_eval(recording: Recording, model: Model) -> set[int]:
    """The layers that used stored statistics in some forward of `model` in evaluation mode."""
    return {
        call.layer
        for span in recording.spans
        for call in recording.patterns[span.pattern].calls
        if span.kind == "inference"
        and recording.patterns[span.pattern].model == model.id
        and not recording.patterns[span.pattern].training
        and not call.batch_stats
    }


def finding(recording: Recording, model: Model, uses: list[Use], layers: list[Layer]) -> Finding:
    ids = {x.id for x in layers}
    mine = [u for u in uses if ids & set(u[2])]
    gap = gap_of(recording.measurements.get("gap", ()), model.id)
    coupling = gap.coupling if gap else None
    severity, confidence = weight(model, mine, coupling)
    forwards = sum(s.forwards for s, _, _ in mine)
    site = layers[0].site
    where = f", first at {site}" if site else ""
    proof = (
        f" Other batch mates change an output by {coupling:.2g} of its standard deviation."
        if coupling is not None
        else ""
    )
    measured = [
        Measured("forwards in evaluation mode on batch statistics", forwards, "forwards", high=0)
    ]
    if coupling is not None:
        measured.append(Measured("coupling of batch mates", coupling, "output sd", high=COUPLED))
    return Finding(
        f"{batch_norms(len(layers)).capitalize()} of `{model.name}` used the batch's own statistics whenever it ran in evaluation mode (forwards: {forwards}){where}: "
        f"the training flag is fixed, `eval()` does not change it.{proof} Pass `training=self.training`.",
        severity=severity,
        confidence=confidence,
        model=model.name,
        layers=tuple(x.path for x in layers if x.path),
        site=site,
        steps=Steps(
            min(s.first_step for s, _, _ in mine),
            max(s.last_step for s, _, _ in mine),
            sum(s.blocks for s, _, _ in mine),
        ),
        measured=tuple(measured),
        repairs=(_REMEDY,),
    )


_REMEDY = Remedy(
    "follow the mode",
    "changes-function",
    "`F.batch_norm(x, mean, var, weight, bias, training=self.training)`, and no `train()` inside `forward`",
)
_FIXED = "layer a; layer b type='batch_norm' registered=False; train a,b x50"
_EVALUATING = "c = conv(x); a = batch_norm(c, batch_stats=True); y = relu(a)"

CASES = (
    Faulty(
        "scored",
        ("a",),
        story="layer a; train a x50; infer a root=eval x4 scored=4",
        severity="error",
    ),
    Faulty(
        "functional call",
        ("b",),
        story=f"{_FIXED}; infer b root=eval x4 scored=4",
        severity="error",
    ),
    Faulty("not scored", ("a", "b"), story=f"{_FIXED}; infer a,b root=eval x4", severity="warning"),
    Faulty(
        "one of two",
        ("a",),
        story="layer a; layer b; train a,b x50; infer b mode=eval x4; infer a root=eval x4 scored=4",
        severity="error",
    ),
    Faulty(
        "only looked at", ("a",), _EVALUATING, static="layer a", evaluating=True, severity="warning"
    ),
    Healthy("follows the mode", story="layer a; train a x50; infer a mode=eval x4 scored=4"),
    Healthy(
        "keeps no statistics",
        story="layer a tracks=False; train a x50; infer a root=eval x4 scored=4",
    ),
    Healthy(
        "a list that eval does not reach",
        story="layer a registered=False; train a x50; infer a root=eval x4 scored=4",
    ),
    Healthy("evaluated in training mode", story="layer a; train a x50; infer a x4 scored=4"),
    Healthy(
        "adapted to the test data, then used",
        story="layer a; train a x50; infer a root=eval x9 then=evaluation; infer a mode=eval scored=1",
    ),
    Healthy(
        "switched on and off by somebody",
        story="layer a; train a x50; infer a mode=eval x4 scored=4; infer a root=eval x4 scored=4",
    ),
    Healthy(
        "one sample at a time, in training too",
        story="layer a; train a batch=1 values=64 x50; infer a root=eval batch=1 values=64 x4",
    ),
    Faulty(
        "one sample at a time, after training on batches",
        ("a",),
        story="layer a; train a x50; infer a root=eval batch=1 values=64 x4",
        severity="warning",
    ),
    Healthy("before training", story="layer a; infer a root=eval x2; train a x50"),
    Healthy("never evaluated", story="layer a; train a x50"),
    Healthy(
        "a generator",
        story="model feeds=(1,); layer a; train a x50; infer a root=eval x4",
        at_most="info",
    ),
    Healthy("training mode, only looked at", _EVALUATING, static="layer a"),
    Healthy(
        "no statistics, only looked at",
        _EVALUATING.replace("=True", "=True, tracks=False"),
        static="layer a",
        evaluating=True,
    ),
    Healthy(
        "a list, only looked at", _EVALUATING, static="layer a registered=False", evaluating=True
    ),
)
