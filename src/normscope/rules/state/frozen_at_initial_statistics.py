from __future__ import annotations

from collections.abc import Iterator

from normscope.concepts.wording import named
from normscope.evidence import Facts
from normscope.finding import Finding, Measured, Remedy, Severity, Steps
from normscope.record.recording import Layer, Recording, Span
from normscope.rule import Faulty, Healthy, rule

SURE = 2  # training steps


def in_the_checkpoint(weights: Facts) -> Iterator[Finding]:
    """Without a run: parameters that were learned beside statistics that never were."""
    complete = [x for x in weights.layers if x.tracks and x.loaded == "complete"]
    layers = [x for x in complete if x.fresh_at_start and x.beta_rms_at_start]
    if not layers:
        return
    names = named(layers)
    # Where every layer is so, somebody may have folded the statistics into scale and shift.
    mixed = any(x.fresh_at_start is False for x in complete)
    yield Finding(
        f"{names} ({len(layers)} of {len(complete)} batch norms in the checkpoint) {'has' if len(layers) == 1 else 'have'} a learned shift, "
        "but running statistics of exactly 0 and 1: the checkpoint was trained with these layers frozen at their initial statistics. "
        "Train them in train mode.",
        severity="warning" if mixed else "info",
        confidence="medium" if mixed else "low",
        model=weights.name,
        layers=tuple(x.path for x in layers),
        measured=(
            Measured(
                "layers with learned shift and initial statistics", len(layers), "layers", high=0
            ),
        ),
        repairs=(Remedy("train the norm layers", "changes-function", "model.train()"),),
    )


@rule(
    "NS404",
    severity="error",
    since="0.1.0",
    explains=("NS403", "NS408", "NS502", "NS503", "NS504", "NS506", "NS601"),
    static=in_the_checkpoint,
)
def frozen_at_initial_statistics(recording: Recording) -> Iterator[Finding]:
    """A layer trains in eval mode on statistics that are still the initial mean 0 and variance 1.

    ## What it checks
    Layers whose running statistics were exactly 0 and 1 when first seen and at the end, and which
    normalized with them in every training forward of a model that was trained.

    ## Why it matters
    Subtracting 0 and dividing by 1 is no normalization: the network trains as if the layer were not there, at a
    learning rate that was chosen for one that is. Freezing batch norm is sound only with statistics that were learned before.
    Measured on digits, a VGG-like network: 8 % test accuracy, against 99 % without the freeze.

    ## Example
    ```python
    model.apply(set_bn_eval)  # right for a pretrained model; here the weights are random and the statistics 0 and 1
    ```

    ## Repair
    Let the layer train (`model.train()` without the freeze), or load a checkpoint that holds its statistics, or
    leave the layer out.

    ## Known limits
    Judged on exact values: statistics that came from a checkpoint are never exactly 0 and 1. A frozen random backbone gives a warning.
    A layer that was in train mode for a while and was then switched off is NS402; one that used batch statistics and never stored
    them is NS406. Where only a checkpoint was looked at, it is a warning when other layers of it have learned statistics, and an info when none
    has, as after folding them into scale and shift; without a checkpoint nothing is said, since one may be loaded before training.

    ## References
    - Ioffe & Szegedy, *Batch Normalization*, 2015, section 3.1. https://arxiv.org/abs/1502.03167
    - https://docs.pytorch.org/docs/stable/generated/torch.nn.BatchNorm2d.html
    """
    by_model: dict[int, list[tuple[Layer, list[Span]]]] = {}
    for layer in recording.layers.values():
        if spans := frozen(recording, layer):
            by_model.setdefault(layer.model, []).append((layer, spans))
    for model, found in by_model.items():
        layers = [x for x, _ in found]
        spans = max((s for _, s in found), key=steps_of)
        names = named(layers)
        yield Finding(
            f"{names} trained {steps_of(spans)} steps in eval mode with the initial statistics, mean 0 and variance 1: nothing was normalized. "
            "Put the norm layers in train mode, or load learned statistics before freezing them.",
            severity=severity(layers),
            model=recording.models[model].name,
            layers=tuple(x.path for x in layers),
            site=layers[0].site,
            steps=Steps(
                min(s.first_step for s in spans), max(s.last_step for s in spans), steps_of(spans)
            ),
            measured=(Measured("updates of the running statistics", 0, "updates", low=1),),
            repairs=(Remedy(way_back(layers), "changes-function", "model.train()"),),
        )


def frozen(recording: Recording, layer: Layer) -> list[Span]:
    """The training spans of a layer that never had any statistics but the initial ones; none for others."""
    model = recording.models[layer.model]
    still_fresh = layer.fresh_at_start and layer.fresh_at_end and not layer.updates
    if not still_fresh or not model.optimized or model.parameters_changed is False:
        return []
    calls = [(s, c) for s, _, c in recording.calls(layer.id, "training")]
    spans = list({id(s): s for s, _ in calls}.values())
    if any(c.batch_stats for _, c in calls) or steps_of(spans) < SURE:
        return []
    return spans


def steps_of(spans: list[Span]) -> int:
    return sum(s.steps for s in spans)


def way_back(layers: list[Layer]) -> str:
    """Which repair: of a forgotten mode where scale and shift are free to learn, of a freeze where they are not."""
    return "training-mode" if any(x.trainable for x in layers) else "train the norm layers"


def severity(layers: list[Layer]) -> Severity:
    # Random features are sometimes frozen on purpose; then nothing around the layer learns either.
    deliberate = all(x.feeders_frozen and not x.parameters_changed for x in layers)
    return "warning" if deliberate else "error"


CASES = (
    Faulty(
        "frozen from scratch",
        ("a", "b"),
        story="layer a fresh_at_end=True; layer b fresh_at_end=True; train a,b mode=eval x100; infer a,b mode=eval",
        severity="error",
    ),
    Faulty(
        "one of two layers",
        ("b",),
        story="layer a; layer b fresh_at_end=True; train a x100; train b mode=eval x100",
        severity="error",
    ),
    Faulty(
        "random backbone",
        ("a",),
        story="layer a fresh_at_end=True feeders_frozen=True parameters_changed=False; train a mode=eval x100",
        severity="warning",
    ),
    Healthy(
        "pretrained and frozen",
        story="layer a fresh_at_start=False; train a mode=eval x100; infer a mode=eval",
    ),
    Healthy("trained as usual", story="layer a; train a x100; infer a mode=eval"),
    Healthy(
        "frozen after a while",
        story="layer a; train a x50; train a mode=eval x50; infer a mode=eval",
    ),
    Healthy("warm-up in eval mode", story="layer a; train a mode=eval x5; train a x50"),
    Healthy(
        "never trained",
        story="model optimized=False parameters_changed=False; layer a fresh_at_end=True; train a mode=eval x10",
    ),
    Healthy("only evaluated", story="layer a fresh_at_end=True; infer a mode=eval x10"),
    Healthy("evaluated before training", story="layer a; infer a mode=eval; train a x100"),
    Healthy(
        "no running statistics",
        story="layer a tracks=False fresh_at_start=None fresh_at_end=None; train a x100",
    ),
    Healthy(
        "initial state unknown",
        story="layer a fresh_at_start=None fresh_at_end=None; train a mode=eval x100",
    ),
    Faulty(
        "a checkpoint, frozen in one layer",
        ("b",),
        static="layer a loaded=complete fresh_at_start=False beta_rms_at_start=0.3; layer b loaded=complete beta_rms_at_start=0.2",
        severity="warning",
    ),
    Faulty(
        "a checkpoint, all frozen or folded",
        ("a",),
        static="layer a loaded=complete beta_rms_at_start=0.3",
        severity="info",
    ),
    Healthy(
        "a checkpoint with learned statistics",
        static="layer a loaded=complete fresh_at_start=False beta_rms_at_start=0.3",
    ),
    Healthy(
        "a checkpoint with a layer that never ran",
        static="layer a loaded=complete fresh_at_start=False beta_rms_at_start=0.3; layer b loaded=complete beta_rms_at_start=0.0",
    ),
    Healthy(
        "a checkpoint without this layer",
        static="layer a loaded=complete fresh_at_start=False; layer b",
    ),
    Healthy(
        "a checkpoint of parameters, which is another fault",
        static="layer a loaded=parameters beta_rms_at_start=0.3",
    ),
)
