from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from normscope.finding import Confidence, Finding, Measured, Remedy, Severity, Steps
from normscope.graph.model import Site
from normscope.record.recording import Layer, Model, Pattern, Recording, Span
from normscope.rule import Faulty, Healthy, rule


@rule(
    "NS402",
    severity="error",
    since="0.1.0",
    explains=("NS202", "NS408", "NS503", "NS504", "NS506", "NS601"),
)
def training_in_eval_mode(recording: Recording) -> Iterator[Finding]:
    """An evaluation switched the model to evaluation mode, and training went on in it.

    ## What it checks
    Layers that were updated earlier in this run, and whose training forwards after an evaluation normalize with
    stored statistics, while the whole model is in evaluation mode: to the end, or for a fifth of the training
    or more.

    ## Why it matters
    From there on the statistics stand still while the weights move away from them, batch normalization no longer
    keeps activations in range, and dropout is off. Where `train()` is called at the start of each epoch, the loss jumps
    there.

    ## Example
    ```python
    net.train()
    for step, (x, y) in enumerate(loader):
        loss_fn(net(x), y).backward()
        if step % 100 == 0:
            validate(net)  # NS402: calls net.eval(), and nothing calls net.train() afterwards
    ```

    ## Repair
    `model.train()` after every evaluation, best inside the evaluation function, which restores the mode it found.

    ## Known limits
    Evaluation mode from the first training forward on is deliberate (fine-tuning), and so are batch norms in evaluation mode
    inside a model in training mode (freezing), modes that alternate more often than evaluations happen, and forwards in
    evaluation mode beside one in training mode at the same step (gradients for an adversarial attack). One switch
    after several evaluations that returned to training mode is an info: it may be a planned freeze.

    ## References
    - PyTorch, *torch.nn.Module.eval*. https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html
    - Wu & Johnson, *Rethinking "Batch" in BatchNorm*, 2021, section 3 (frozen statistics).
      https://arxiv.org/abs/2105.07576
    """
    for model in recording.models.values():
        trained = [
            (s, p)
            for s in recording.spans
            if s.kind == "training" and (p := recording.patterns[s.pattern]).model == model.id
        ]
        trained.sort(key=lambda pair: (pair[0].first_step, pair[0].last_step))
        evaluated = [
            s
            for s in recording.spans
            if s.kind == "inference"
            and (p := recording.patterns[s.pattern]).model == model.id
            and not p.training
        ]
        by_lapse: dict[_Lapse, list[Layer]] = {}
        for layer in recording.layers.values():
            if layer.kind == "batch" and (lapse := _lapse(layer.id, trained, evaluated)):
                by_lapse.setdefault(lapse, []).append(layer)
        if by_lapse:
            worst = max(by_lapse, key=lambda lapse: lapse.forwards)
            yield _finding(model, worst, [x for found in by_lapse.values() for x in found])


@dataclass(frozen=True, slots=True)
class _Lapse:
    """Training forwards in evaluation mode after an evaluation, of one layer."""

    first: int
    last: int
    forwards: int
    of: int  # training forwards since the layer's first update
    phases: int
    returned: int  # evaluations after which training mode came back, before the first phase
    to_the_end: bool
    site: Site | None


def _lapse(layer: int, trained: list[tuple[Span, Pattern]], evaluated: list[Span]) -> _Lapse | None:
    phases: list[list[tuple[Span, Pattern]]] = []
    updated_from: int | None = None
    of, lapsed = 0, False
    updating = [s for s, p in trained if any(c.layer == layer and c.batch_stats for c in p.calls)]
    for span, pattern in trained:
        calls = [c for c in pattern.calls if c.layer == layer]
        if not calls:
            continue
        if any(c.batch_stats for c in calls):
            if updated_from is None and any(c.updates for c in calls):
                updated_from = span.first_step
            lapsed = False
        elif updated_from is not None and not pattern.training and not _beside(span, updating):
            if not lapsed:
                phases.append([])
            phases[-1].append((span, pattern))
            lapsed = True
        of += span.forwards * (updated_from is not None)
    phases = [p for p in phases if _after_evaluation(p[0][0].first_step, updated_from, evaluated)]
    blocks = sum(s.blocks for s in evaluated)
    # More switches than evaluations: the training algorithm itself alternates between modes.
    if not phases or len(phases) > blocks:
        return None
    spans = [pair for phase in phases for pair in phase]
    forwards = sum(s.forwards for s, _ in spans)
    if forwards < 0.2 * of and not (lapsed and forwards > 1):
        return None
    first = spans[0][0].first_step
    return _Lapse(
        first=first,
        last=max(s.last_step for s, _ in spans),
        forwards=forwards,
        of=of,
        phases=len(phases),
        returned=_evaluations_before(first, evaluated),
        to_the_end=lapsed,
        site=next((p.site for _, p in spans if p.site), None),
    )


def _beside(span: Span, updating: list[Span]) -> bool:
    """Whether each step of `span` had a forward in training mode too, as where an attack on the network precedes it.

    The last attack may be one of an evaluation, after the last step.
    """
    return any(
        s.first_step <= span.first_step
        and span.last_step <= s.last_step + 1
        and s.steps >= 0.9 * (s.last_step - s.first_step + 1)
        and s.last_step > s.first_step
        for s in updating
    )


def _after_evaluation(step: int, updated_from: int | None, evaluated: list[Span]) -> bool:
    """Whether an evaluation ran right before the training forward at `step`, after the layer was first updated."""
    begin = updated_from or 0
    return any(s.first_step <= step <= s.last_step and s.last_step > begin for s in evaluated)


def _evaluations_before(step: int, evaluated: list[Span]) -> int:
    """Distinct steps before `step` at which an evaluation ran, as far as spans tell."""
    starts = {s.first_step for s in evaluated if 0 < s.first_step < step}
    ended = {s.last_step for s in evaluated if 0 < s.last_step < step}
    return len(starts | ended)


def _finding(model: Model, lapse: _Lapse, layers: list[Layer]) -> Finding:
    severity, confidence = _weight(lapse)
    share = lapse.forwards / max(lapse.of, 1)
    until = (
        "to the end"
        if lapse.phases == 1 and lapse.to_the_end
        else f"until `train()` was called again ({lapse.phases} {'time' if lapse.phases == 1 else 'times'})"
    )
    site = f" before the training loop at {lapse.site} goes on" if lapse.site else ""
    return Finding(
        f"An evaluation after step {lapse.first} left `{model.name}` in evaluation mode and training went on in it, {until}: "
        f"{lapse.forwards} of {lapse.of} training forwards ({share:.0%}) normalized with stored statistics that no "
        "longer move. Call `train()` on the model after every evaluation.",
        severity=severity,
        confidence=confidence,
        model=model.name,
        layers=tuple(x.path for x in layers),
        site=lapse.site,
        steps=Steps(lapse.first, lapse.last, lapse.forwards),
        measured=(Measured("training forwards in evaluation mode", share, "1", high=0.2),),
        repairs=(Remedy("training-mode", "changes-function", f"`model.train()`{site}"),),
    )


def _weight(lapse: _Lapse) -> tuple[Severity, Confidence]:
    if lapse.phases == 1 and lapse.to_the_end and lapse.returned >= 1:
        return "info", "low"
    if lapse.forwards < 0.05 * lapse.of:
        return "warning", "medium"
    return "error", "high"


CASES = (
    Faulty(
        "validated once, never back",
        ("a", "b"),
        story="layer a; layer b; train a,b x40; infer a,b mode=eval x4 since=40 then=training; train a,b mode=eval x400",
        severity="error",
    ),
    Faulty(
        "validated in the middle of every epoch",
        ("a",),
        story="layer a; train a x20; infer a mode=eval x5 since=20; train a mode=eval x30; train a x20; "
        "infer a mode=eval x5; train a mode=eval x30",
        severity="error",
    ),
    Healthy(
        "back in training mode", story="layer a; train a x40; infer a mode=eval x4; train a x40"
    ),
    Healthy(
        "fine-tuned in evaluation mode from the first step",
        story="layer a fresh_at_start=False; train a mode=eval x40; infer a mode=eval x4; train a mode=eval x40",
    ),
    Healthy(
        "frozen for the last fifth while the model trains",
        story="layer a; train a x80; infer a mode=eval x4; train a mode=eval root=train x20; infer a mode=eval x4",
    ),
    Healthy(
        "an attack in evaluation mode before every step in training mode",
        story="layer a; train a x200; infer a mode=eval x5; train a mode=eval beside=True since=40 x480 steps=160; "
        "infer a mode=eval since=40 x5",
    ),
    Healthy(
        "an attack of the last evaluation",
        story="layer a; train a x200; infer a mode=eval since=150 x5; train a mode=eval beside=True since=150 x150 steps=50; "
        "train a mode=eval x3; infer a mode=eval x5",
        at_most="info",
    ),
    Faulty(
        "in training mode in one of four steps only",
        ("a",),
        story="layer a; train a x200 steps=50; infer a mode=eval since=40 x5; train a mode=eval beside=True since=40 x150 steps=150",
        severity="error",
    ),
    Healthy(
        "modes that alternate without an evaluation",
        story="layer a; train a x9; train a mode=eval x9; train a x9; train a mode=eval x9",
    ),
    Healthy(
        "modes that alternate more often than evaluations",
        story="layer a; train a; train a mode=eval; train a; infer a mode=eval; train a mode=eval; train a; train a mode=eval; train a;"
        "train a mode=eval; infer a mode=eval",
    ),
    Healthy(
        "planned freeze after evaluations that returned",
        story="layer a; train a x40; infer a mode=eval; train a x40; infer a mode=eval since=80; train a mode=eval x40",
        at_most="info",
    ),
    Healthy(
        "evaluated before training only",
        story="layer a; infer a mode=eval; train a mode=eval x40; infer a mode=eval",
    ),
)
