from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from normscope.concepts.wording import batch_norms
from normscope.finding import Confidence, Finding, Measured, Remedy, Severity, Steps
from normscope.graph.model import Site
from normscope.record.recording import Model, Pattern, Recording, Span
from normscope.rule import Faulty, Healthy, rule


@rule("NS401", severity="error", since="0.1.0", explains=("NS302", "NS408", "NS601"))
def inference_in_train_mode(recording: Recording) -> Iterator[Finding]:
    """The model is evaluated in training mode.

    ## What it checks
    Forwards that no backward used, of a model in training mode whose batch norms therefore normalized with the
    batch's own statistics, once training had begun. It tells evaluation from forwards that belong to the training
    algorithm: an evaluation comes in blocks much rarer than steps, or with the same input every time, or after the
    last step. A block that is followed by a forward in evaluation mode recomputed the statistics on purpose.

    ## Why it matters
    In training mode the answer for one sample depends on the samples beside it, dropout is on, and every forward moves
    the running statistics towards the evaluation data. The score is not that of the model that will be used: a
    shuffled test set can look right while single samples, or data sorted by class, fail.

    ## Example
    ```python
    for epoch in range(10):
        train(net)  # calls net.train()
        with torch.no_grad():  # switches off gradients, not training mode
            accuracy(net, test_loader)  # NS401: net.eval() is missing
    ```

    ## Repair
    `model.eval()` before the evaluation and `model.train()` after it; before `torch.jit.trace`, too, whose result keeps the mode that it was made in. `torch.no_grad()` and
    `torch.inference_mode()` do not change the mode.

    ## Known limits
    At most an info: one forward for every step (pseudo labels, momentum encoders, target networks), and a model that
    makes inputs for another that trains against it (generators). Forwards whose output met neither a loss function nor a class
    decision are a warning at most, and so is a copy that came trained and is judged after the last step. Silent when
    forwards ran before the first step, and when no more than two in a row, at a line that trains the model, met no known loss: those
    are steps that were given up, for a loss that was not finite or by Ctrl-C.

    ## References
    - PyTorch, *Autograd mechanics: locally disabling gradient computation*.
      https://docs.pytorch.org/docs/stable/notes/autograd.html
    - Ioffe & Szegedy, *Batch Normalization*, 2015, section 3.1. https://arxiv.org/abs/1502.03167
    """
    for model in recording.models.values():
        seen = _uses(recording, model)
        if seen and (judged := _judge(recording, model, seen)):
            yield _finding(recording, model, seen, *judged)


@dataclass(slots=True)
class _Uses:
    """A model's forwards in training mode that nothing was learned from, added up."""

    spans: list[tuple[Span, Pattern]] = field(default_factory=list[tuple[Span, Pattern]])
    forwards: float = 0.0
    blocks: float = 0.0  # less those that are excused
    scored: float = 0.0
    feeding: float = 0.0
    same_input: float = 0.0
    after_end: float = 0.0
    layers: dict[int, None] = field(default_factory=dict[int, None])

    @property
    def first(self) -> int:
        return min(s.first_step for s, _ in self.spans)

    @property
    def last(self) -> int:
        return max(s.last_step for s, _ in self.spans)


def _uses(recording: Recording, model: Model) -> _Uses | None:
    begin = _first_training(recording, model)
    if begin is None:
        return None
    uses, excused, trained_at = _Uses(), 0, _trained_at(recording, model)
    for span in recording.spans:
        pattern = recording.patterns[span.pattern]
        if span.kind != "inference" or not pattern.training:
            continue
        if _owner(recording, pattern) != model.id:
            continue
        layers = _by_mode(recording, model, pattern)
        if not layers or span.last_step <= begin or _recomputes(recording, pattern):
            continue
        if pattern.site in trained_at and not span.scored and span.forwards <= 2 * span.blocks:
            continue  # steps that were given up: a loss that was not finite, a refused batch, the end by Ctrl-C
        uses.spans.append((span, pattern))
        # A block before the first step belongs to building the model: shapes, graphs, lazy layers.
        uses.blocks += max(0, span.blocks - (span.first_step <= begin))
        # Sizes that differ within one block make several spans: the first counts it, the last tells what followed.
        excused += span.followed_by.get("evaluation", 0)
        uses.layers.update(dict.fromkeys(layers))
    if not uses.spans or excused >= max(uses.blocks, 1):
        return None
    share = 1 - excused / max(uses.blocks, 1)
    uses.blocks = max(uses.blocks, 1) - excused
    uses.forwards = share * sum(s.forwards for s, _ in uses.spans)
    uses.scored = share * sum(s.scored for s, _ in uses.spans)
    uses.feeding = share * sum(s.feeding for s, _ in uses.spans)
    uses.same_input = share * sum(s.same_input for s, _ in uses.spans)
    # A run that was killed never learned which forwards were its last.
    end = max((s.last_step + 1 for s in recording.spans if s.kind == "training"), default=0)
    uses.after_end = share * sum(s.after_end for s, _ in uses.spans if s.last_step >= end)
    return uses


def _first_training(recording: Recording, model: Model) -> int | None:
    """Steps done when the model first trained, or any other where it does not train itself (an average, a teacher)."""
    spans = [s for s in recording.spans if s.kind == "training"]
    own = [s for s in spans if _owner(recording, recording.patterns[s.pattern]) == model.id]
    return min((s.first_step for s in own or spans), default=None)


def _trained_at(recording: Recording, model: Model) -> set[Site]:
    """The lines that call the model to train it."""
    patterns = [recording.patterns[s.pattern] for s in recording.spans if s.kind == "training"]
    return {p.site for p in patterns if p.site and _owner(recording, p) == model.id}


def _trains(recording: Recording, model: Model) -> bool:
    """Whether any training forward ran through the model, be it as a part whose weights stand still."""
    return any(
        s.kind == "training" and _owner(recording, recording.patterns[s.pattern]) == model.id
        for s in recording.spans
    )


def _owner(recording: Recording, pattern: Pattern) -> int:
    """The model whose norm layers ran: a container made for one call, or a part called alone, has none of its own."""
    owners = {recording.layers[c.layer].model for c in pattern.calls}
    return owners.pop() if len(owners) == 1 else pattern.model


def _by_mode(recording: Recording, model: Model, pattern: Pattern) -> list[int]:
    """Layers that used the batch's statistics because of the mode: without running ones they always do."""
    tracking = {k for k, x in recording.layers.items() if x.kind == "batch" and x.tracks}
    if pattern.calls or not model.compiled:
        return [c.layer for c in pattern.calls if c.batch_stats and c.layer in tracking]
    # A compiled graph hides its calls, but not that its statistics moved more often than it trained.
    trained = sum(
        s.forwards
        for s in recording.spans
        if s.kind == "training" and recording.patterns[s.pattern].model == model.id
    )
    own = (recording.layers[k] for k in tracking)
    return sorted(x.id for x in own if x.model == model.id and x.updates > trained)


def _recomputes(recording: Recording, pattern: Pattern) -> bool:
    """Whether momentum was set to a cumulative average for these forwards only, as recomputing does."""
    return any(
        c.momentum is None and recording.layers[c.layer].momentum is not None
        for c in pattern.calls
        if c.batch_stats
    )


def _judge(
    recording: Recording, model: Model, uses: _Uses
) -> tuple[Severity, Confidence, str] | None:
    if not (model.optimized or model.parameters_changed):
        if uses.scored and uses.forwards == uses.after_end and not _trains(recording, model):
            return "warning", "medium", "It came trained, and was judged after the last step."
        return "info", "medium", "It was not trained in this run."
    steps = _steps(recording, model)
    rare = uses.blocks <= 0.5 * steps
    fixed = uses.forwards >= 3 and uses.same_input >= 0.5 * (uses.forwards - 1)
    if not (rare or fixed):
        # Pseudo labels, momentum encoders and targets run beside every step, by design.
        beside = (uses.forwards - uses.after_end) / max(uses.blocks - 1, 1)
        if uses.after_end <= 2 * beside:
            return "info", "medium", "It ran beside every step, as algorithms with targets do."
    if _produces(recording, model, uses):
        return "info", "medium", "It makes inputs for another model, as generators do."
    if not uses.scored and _read_and_scored(recording, model, uses):
        return "error", "medium", ""
    if not uses.scored:
        if uses.forwards == uses.after_end and uses.forwards > 1:
            # Indistinguishable from recomputing the statistics by hand before saving.
            return "info", "low", "Its outputs met no loss function and no class decision."
        return "warning", "medium", "Its outputs met no loss function and no class decision."
    return "error", "high", ""


def _steps(recording: Recording, model: Model) -> int:
    """Rounds of training: steps from the model's first training forward to its last.

    Several optimizers step several times a round, so there are no more rounds than forwards at the busiest line.
    """
    own = [
        s
        for s in recording.spans
        if s.kind == "training" and _owner(recording, recording.patterns[s.pattern]) == model.id
    ]
    if not own:
        return recording.steps
    at = Counter[Site | None]()
    for s in own:
        at[recording.patterns[s.pattern].site] += s.forwards
    steps = max(s.last_step for s in own) + 1 - min(s.first_step for s in own)
    return min(steps, max(at.values()))


def _produces(recording: Recording, model: Model, uses: _Uses) -> bool:
    """Whether it is a producer for another model, and not merely the first half of one network.

    Two halves train together: the reader has no training forwards of its own (a critic sees real data too).
    """
    if not model.feeds:
        return uses.feeding > 0.5 * uses.forwards
    trained = dict.fromkeys((model.id, *model.feeds), 0)
    for span in recording.spans:
        who = _owner(recording, recording.patterns[span.pattern])
        if span.kind == "training" and who in trained:
            trained[who] += span.forwards
    halves = all(trained[k] <= 1.2 * trained[model.id] for k in model.feeds)
    return not (halves and uses.feeding >= 0.5 * uses.forwards)


def _read_and_scored(recording: Recording, model: Model, uses: _Uses) -> bool:
    """Whether it is the first half of a network whose other half, called right after it, was scored each time."""
    scored = Counter[int]()
    for span in recording.spans:
        if span.kind == "inference" and uses.first <= span.first_step:
            scored[recording.patterns[span.pattern].model] += span.scored
    readers, seen = list(model.feeds), {model.id}
    while readers:
        reader = readers.pop()
        if reader not in seen:
            seen.add(reader)
            readers += recording.models[reader].feeds
    return any(scored[k] >= uses.forwards for k in seen - {model.id})


def _finding(
    recording: Recording,
    model: Model,
    uses: _Uses,
    severity: Severity,
    confidence: Confidence,
    why: str,
) -> Finding:
    site = next((p.site for s, p in uses.spans if p.site and (s.scored or not uses.scored)), None)
    where = f" at {site}" if site else ""
    forwards, blocks = round(uses.forwards) or 1, round(uses.blocks) or 1
    updates = any(not p.calls or any(c.updates for c in p.calls) for _, p in uses.spans)
    norms = batch_norms(len(uses.layers))
    moved = " and moved the running statistics" if updates else ""
    times = "once" if blocks == 1 else f"in {blocks} passes"
    message = (
        f"`{model.name}` was evaluated in training mode{where}, {times} ({forwards} forwards): "
        f"{norms} normalized with the evaluated batch's own statistics{moved}, "
        f"so an answer depends on its batch mates. {_todo(recording, model)}"
        if severity == "error"
        else f"`{model.name}` ran in training mode without learning{where}, {times} ({forwards} forwards): "
        f"{norms} normalized with the batch's own statistics{moved}. {why} "
        "If these outputs are judged or used, call `eval()` on the model first."
    )
    return Finding(
        message,
        severity=severity,
        confidence=confidence,
        model=model.name,
        layers=tuple(recording.layers[k].path for k in uses.layers),
        site=site,
        steps=Steps(uses.first, uses.last, blocks),
        measured=(
            Measured("forwards evaluated in training mode", forwards, "forwards", high=0.0),
            Measured("of them scored", round(uses.scored), "forwards", high=0.0),
        ),
        repairs=(
            Remedy(
                "evaluation-mode",
                "changes-function",
                f"`model.eval()` before the forward{where}, `model.train()` before training goes on",
            ),
        ),
    )


def _todo(recording: Recording, model: Model) -> str:
    for event in recording.events_of("traced"):
        if event.model == model.id:
            return f"It was traced in training mode at {event.site}, and a trace keeps its mode: call `eval()` before tracing."
    return "Call `eval()` on the model before evaluating."


CASES = (
    Faulty(
        "validation every epoch",
        ("a", "b"),
        story="layer a; layer b; train a,b x100; infer a,b x4 scored=4 then=training; train a,b x100; "
        "infer a,b x4 scored=4",
        severity="error",
    ),
    Faulty(
        "once, after the last step",
        ("a",),
        story="layer a; train a x50; infer a x10 scored=10",
        severity="error",
    ),
    Faulty(
        "the same test tensor after every step",
        ("a",),
        story="layer a; train a x200; infer a since=1 batch=300 x200 blocks=200 same=199 scored=200 then=training",
        severity="error",
    ),
    Faulty(
        "an average of the weights",
        ("a",),
        story="model optimized=False parameters_changed=True; layer a; train a x100; infer a x5 scored=5",
        severity="error",
    ),
    Faulty(
        "one prediction that nothing scored",
        ("a",),
        story="layer a; train a x50; infer a batch=200",
        severity="warning",
    ),
    Healthy("evaluation mode", story="layer a; train a x50; infer a mode=eval x10 scored=10"),
    Healthy(
        "batches that were given up, at the line that trains",
        story="layer a; train a line=9 x50; infer a line=9 x4 blocks=4 then=training; infer a line=9 since=50",
    ),
    Faulty(
        "a pass over unscored data, by the line that trains",
        ("a",),
        story="layer a; train a line=9 x50; infer a line=9 x3 then=training; train a line=9 x50",
        severity="warning",
    ),
    Faulty(
        "one forward each epoch, at another line than that which trains",
        ("a",),
        story="layer a; train a line=9 x50; infer a line=12 then=training; train a line=9 x50",
        severity="warning",
    ),
    Faulty(
        "scored, by the line that trains",
        ("a",),
        story="layer a; train a line=9 x50; infer a line=9 scored=1 then=training; train a line=9 x50",
        severity="error",
    ),
    Healthy("before the first step", story="layer a; infer a batch=2 x3; train a x50"),
    Healthy(
        "statistics recomputed, then evaluated",
        story="layer a; train a x50; infer a x20 then=evaluation; infer a mode=eval x5 scored=5",
    ),
    Healthy(
        "recomputed with a cumulative average",
        story="layer a momentum=0.1; train a momentum=0.1 x50; infer a momentum=None x20",
    ),
    Healthy(
        "pseudo labels at every step",
        story="layer a; train a x200; infer a since=1 x199 blocks=199 scored=199 then=training; train a x1",
        at_most="info",
    ),
    Faulty(
        "pseudo labels at every step, and a test at the end",
        ("a",),
        story="layer a; train a x200; infer a since=1 x229 blocks=200 scored=229 then=training",
        severity="error",
    ),
    Healthy(
        "a generator draws samples",
        story="model feeds=(1,); layer a; train a x200; infer a since=9 x20 blocks=20 steps=20 scored=1; train a x9",
        at_most="info",
    ),
    Healthy(
        "a teacher that never changes",
        story="model optimized=False parameters_changed=False; layer a; train a x9; infer a x3 scored=3",
        at_most="info",
    ),
    Healthy(
        "only dropout is on in evaluation",
        story="layer a; train a x50; infer a mode=eval root=train x30 scored=30",
    ),
    Healthy(
        "layers that keep no statistics",
        story="layer a tracks=False; train a x50; infer a x30 scored=30",
    ),
    Healthy(
        "group norm has no modes", story="layer a kind='group' tracks=False; train a x9; infer a x3"
    ),
    Healthy("never trained here", story="layer a; infer a x30 scored=30"),
)
