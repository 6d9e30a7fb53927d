from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from normscope.concepts.wording import batch_norms
from normscope.finding import Confidence, Finding, Measured, Remedy, Severity, Steps
from normscope.graph.model import Site
from normscope.record.recording import Event, Layer, Recording, Span
from normscope.rule import Faulty, Healthy, rule


@rule("NS403", severity="error", since="0.1.0", explains=("NS206", "NS408"))
def incomplete_freeze(recording: Recording) -> Iterator[Finding]:
    """A layer is frozen, but its running statistics move.

    ## What it checks
    Batch norms whose scale and shift never changed under observation, because they require no gradient or belong to no
    optimizer, and neither did the layers around them; whose running statistics came from earlier training; and whose
    forwards beside the steps nevertheless moved those statistics. Layers without scale and shift are judged by the layers
    around them alone. In Keras also layers whose `trainable` was changed after `compile`, where `fit` goes on with a step that was compiled before.

    ## Why it matters
    `requires_grad = False` does not stop buffers. The "frozen" part changes its function with every batch, drifts
    to the new data, and differs from the checkpoint that it came from, although not one weight moved.

    ## Example
    ```python
    for p in net.backbone.parameters():
        p.requires_grad = False
    net.train()  # NS403: the batch norms of the backbone are in training mode
    ```

    ## Repair
    `backbone.eval()` after every `model.train()`, for example in an overridden `train()` method. In Keras `layer.trainable = False`, which puts a
    batch norm into inference mode as well, and `compile` after it.

    ## Known limits
    Layers that started with initial statistics (a frozen random network) are an info. Layers whose parameters changed by hand
    (momentum encoders, averages) are silent, and so is the reverse: statistics in evaluation mode under a trainable scale and shift,
    which is common practice. A change of `trainable` without `compile` is told on TensorFlow alone: on PyTorch's backend freezing acts at once, and
    where it does not Keras raises an error of its own. Forwards of an evaluation belong to NS401.

    ## References
    - PyTorch, *Autograd mechanics: evaluation mode*. https://docs.pytorch.org/docs/stable/notes/autograd.html
    - He et al., *Deep Residual Learning*, 2016 (batch norms fixed in detection). https://arxiv.org/abs/1512.03385
    """
    if not any(m.optimized for m in recording.models.values()):
        return
    found: dict[tuple[int, _Kind], list[_Moved]] = {}
    for layer in recording.layers.values():
        if layer.kind == "batch" and layer.tracks and (moved := _moved(recording, layer)):
            found.setdefault((layer.model, moved.kind), []).append(moved)
    for (model, kind), hits in found.items():
        yield _finding(recording.models[model].name, kind, hits)
    yield from compile_forgotten(recording)


def compile_forgotten(recording: Recording) -> Iterator[Finding]:
    """Of Keras: `trainable` was changed, and a step that was compiled before goes on as if it were not."""
    found: dict[tuple[int, str], list[Event]] = {}
    for event in recording.events_of("not-compiled"):
        if event.layer is not None:
            model = recording.layers[event.layer].model
            found.setdefault((model, event.detail), []).append(event)
    for (model, was), events in found.items():
        layers = [recording.layers[e.layer] for e in events if e.layer is not None]
        first = min(e.step for e in events)
        steps = recording.steps - first
        name, count = recording.models[model].name, batch_norms(len(layers))
        told = (
            f"`trainable = False` was set on {count} of `{name}` after `compile`, and the {steps} steps from step {first + 1} on trained "
            "them all the same"
            if was == "trained"
            else f"`trainable = True` was set on {count} of `{name}` after `compile`, and in the {steps} steps from step {first + 1} on "
            "they stayed frozen all the same"
        )
        yield Finding(
            f"{told}: `fit` does what `trainable` was when its step was compiled. Call `compile` again after changing it.",
            severity="error" if was == "trained" else "warning",
            confidence="high",
            model=name,
            layers=tuple(x.path for x in layers),
            site=next((e.site for e in events if e.site), None),
            steps=Steps(first, recording.steps, steps),
            measured=(Measured("steps with what `trainable` was before", steps, "steps", high=0),),
            repairs=(
                Remedy(
                    "compile again",
                    "changes-function",
                    "`model.compile(...)` after the last change of `trainable`",
                ),
            ),
        )


_Kind = tuple[Severity, Confidence, bool]  # with whether no gradient was required


@dataclass(frozen=True, slots=True)
class _Moved:
    """What moved a frozen layer's statistics."""

    layer: Layer
    kind: _Kind
    forwards: int
    first: int
    last: int
    site: Site | None


def _moved(recording: Recording, layer: Layer) -> _Moved | None:
    calls = [
        (s, p, c)
        for s, p, c in recording.calls(layer.id)
        if c.updates and _beside_training(s, p.training)
    ]
    # A layer that trains again later (gradual unfreezing), or in turn (a critic), is not a frozen one.
    trained = [s.last_step for s, _, c in calls if c.trainable and _learns(layer)]
    if not trained and layer.affine and layer.parameters_changed is not False:
        return None  # moved by hand: an average, a momentum encoder, a copied target
    frozen = [
        (s, p, c)
        for s, p, c in calls
        if (c.trainable is False or not _learns(layer)) and s.first_step >= max(trained, default=0)
    ]
    forwards = sum(s.forwards for s, _, _ in frozen)
    if forwards < 2 or forwards < 0.05 * sum(s.forwards for s, _, _ in calls):
        return None
    explicit = layer.trainable is False or any(c.trainable is False for _, _, c in frozen)
    # What no backward went through learned nothing, whatever its parameters asked for before.
    beside_learns = layer.feeders_frozen is False and any(
        s.kind == "training" for s, _, _ in frozen
    )
    learned = layer.fresh_at_start is False or bool(trained)
    kind = _kind(layer, explicit=explicit, beside_learns=beside_learns, learned=learned)
    if kind is None:
        return None
    return _Moved(
        layer,
        kind,
        forwards,
        min(s.first_step for s, _, _ in frozen),
        max(s.last_step for s, _, _ in frozen),
        next((p.site for _, p, _ in frozen if p.site), None),
    )


def _learns(layer: Layer) -> bool:
    """Whether scale and shift moved at any time, by whomever."""
    return layer.parameters_changed is not False and (layer.affine or layer.feeders_frozen is False)


def _kind(layer: Layer, *, explicit: bool, beside_learns: bool, learned: bool) -> _Kind | None:
    """How sure it is that the layer was meant to be frozen, and had something to lose."""
    if not layer.affine:
        frozen, explicit = layer.feeders_frozen is True, True
    else:
        frozen = explicit or (not layer.optimized and layer.parameters_changed is False)
    if not frozen:
        return None
    if not learned:
        return "info", "low", explicit
    # Layers that train beside it need moving statistics: then only the scale was meant.
    if beside_learns and explicit:
        return "warning", "medium", explicit
    return "error", "high" if explicit else "medium", explicit


def _beside_training(span: Span, training: bool) -> bool:
    """Whether the forwards belong to training: used by backward, or run as often as steps and not judged (a teacher)."""
    if span.kind == "training":
        return True
    steps = span.last_step + 1 - span.first_step
    return training and steps > 2 and span.blocks > 0.5 * steps and span.scored < span.forwards


def _finding(model: str, kind: _Kind, hits: list[_Moved]) -> Finding:
    severity, confidence, explicit = kind
    forwards = max(h.forwards for h in hits)
    site = next((h.site for h in hits if h.site), None)
    reason = "require no gradient" if explicit else "belong to no optimizer that stepped"
    count = batch_norms(len(hits))
    was = (
        " They began at their initial values: nothing learned was lost."
        if severity == "info"
        else ""
    )
    where = f" before the forward at {site}" if site else ""
    return Finding(
        f"{count} of `{model}` with frozen scale and shift (they {reason}) moved the running statistics in "
        f"{forwards} forwards{f' at {site}' if site else ''}.{was} Freezing parameters does not freeze statistics: call `eval()` "
        "on the frozen part after every `train()`.",
        severity=severity,
        confidence=confidence,
        model=model,
        layers=tuple(h.layer.path for h in hits),
        site=site,
        steps=Steps(min(h.first for h in hits), max(h.last for h in hits), forwards),
        measured=(Measured("updates of frozen layers", forwards, "updates", high=0.0),),
        repairs=(
            Remedy(
                "freeze-statistics",
                "changes-function",
                f"`frozen_part.eval()`{where}, after `model.train()`",
            ),
        ),
    )


_FROZEN = "trainable=False optimized=False parameters_changed=False feeders_frozen=True"

CASES = (
    Faulty(
        "frozen backbone in training mode",
        ("a",),
        story=f"layer a fresh_at_start=False {_FROZEN}; layer head; train a,head x50",
        severity="error",
    ),
    Faulty(
        "only the head is in the optimizer",
        ("a",),
        story="layer a fresh_at_start=False optimized=False parameters_changed=False; layer head; train a,head x50",
        severity="error",
    ),
    Faulty(
        "without scale and shift",
        ("a",),
        story="layer a fresh_at_start=False affine=False trainable=None optimized=False parameters_changed=None "
        "feeders_frozen=True; layer head; train a,head x50",
        severity="error",
    ),
    Faulty(
        "teacher in training mode",
        ("a",),
        story=f"layer a fresh_at_start=False {_FROZEN}; layer head; train head x50; infer a since=0 x50 blocks=50",
        severity="error",
    ),
    Faulty(
        "trained, then frozen",
        ("a",),
        story="layer a trainable=False feeders_frozen=True; layer head; train a trainable=True x50; "
        "train a,head trainable=False x50",
        severity="error",
    ),
    Faulty(
        "compile forgotten after freezing",
        ("a",),
        story="framework keras; layer a; layer head; train a,head x50; event not-compiled layer=a detail=trained step=20",
        severity="error",
    ),
    Faulty(
        "compile forgotten after unfreezing",
        ("a",),
        story="framework keras; layer a fresh_at_start=False; train a mode=eval trainable=False x50; event not-compiled layer=a detail=frozen step=20",
        severity="warning",
    ),
    Healthy(
        "unfrozen later",
        story="layer a fresh_at_start=False; train a trainable=False x20; train a trainable=True x50",
    ),
    Healthy(
        "a critic, held fixed while the generator learns",
        story="layer a; train a trainable=True x9; train a trainable=False x9; train a trainable=True x9",
    ),
    Healthy(
        "frozen for export when training was over",
        story="layer a trainable=False; train a trainable=True x50; infer a mode=eval trainable=False x3",
    ),
    Healthy(
        "frozen with its statistics",
        story=f"layer a fresh_at_start=False {_FROZEN}; train a mode=eval root=train x50",
    ),
    Healthy("everything trains", story="layer a fresh_at_start=False; train a x50"),
    Healthy(
        "statistics in evaluation mode under a trained scale",
        story="layer a fresh_at_start=False; train a mode=eval x50",
    ),
    Healthy(
        "momentum encoder",
        story="layer a fresh_at_start=False trainable=False optimized=False parameters_changed=True; layer b; train b x50; "
        "infer a trainable=False since=0 x50 blocks=50",
    ),
    Healthy(
        "only the scale is frozen, the layers around it train",
        story="layer a fresh_at_start=False trainable=False optimized=False parameters_changed=False feeders_frozen=False; "
        "train a x50",
        at_most="warning",
    ),
    Healthy(
        "frozen random features",
        story=f"layer a {_FROZEN}; layer head; train a,head x50",
        at_most="info",
    ),
    Healthy(
        "recalibrated once, afterwards",
        story=f"layer a fresh_at_start=False {_FROZEN}; layer head; train head x50; infer a x20 then=evaluation; infer a mode=eval",
    ),
    Healthy(
        "a learning rate of zero",
        story="layer a fresh_at_start=False parameters_changed=False; train a x50",
    ),
)
