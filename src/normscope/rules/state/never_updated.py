from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from normscope.concepts.recalibration import recalibrated
from normscope.concepts.wording import named
from normscope.finding import Finding, Measured, Remedy, Steps
from normscope.probes.observations import OwnStatistics, own_statistics
from normscope.record.recording import Layer, Recording
from normscope.rule import Faulty, Healthy, rule

LONG = 20  # training steps; after fewer a run without evaluation was a trial of the script


@rule("NS406", severity="error", since="0.1.0", explains=("NS408", "NS503", "NS506", "NS601"))
def never_updated(recording: Recording) -> Iterator[Finding]:
    """Training normalizes with batch statistics, but the running statistics never move from 0 and 1.

    ## What it checks
    Layers that used batch statistics in training while their running statistics were never moved and are exactly
    0 and 1 at the end, and whether evaluation normalized with them. Of a layer of your own: tensors of one size that are all 0 and all 1, that a
    training forward neither moves nor reads, and that change what evaluation gives.

    ## Why it matters
    Training looks right, and evaluation subtracts 0 and divides by 1 instead of normalizing: every layer behind gets inputs on a scale that it
    never saw. The score can be at chance while the training loss is near zero.

    ## Example
    ```python
    y = F.batch_norm(x, None, None, weight, bias, training=True)  # no buffers: nothing is stored
    y = F.batch_norm(x, self.running_mean, self.running_var, weight, bias, training=self.training)
    ```

    ## Repair
    Pass the buffers in training too, or keep those that a functional call returned. For a model that is trained already:
    recompute the statistics from training data.

    ## Known limits
    Silent for layers without running statistics and for statistics that came from a checkpoint. Without an evaluation it is a warning after
    20 training steps and silent before. A momentum of 0 is the cause in NS201, which then explains this finding.

    ## References
    - https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.batch_norm.html
    - Ioffe & Szegedy, *Batch Normalization*, 2015, section 3.1. https://arxiv.org/abs/1502.03167
    """
    by_model: dict[int, list[Unmoved]] = {}
    for layer in recording.layers.values():
        if unmoved := unmoved_of(recording, layer):
            by_model.setdefault(layer.model, []).append(unmoved)
    for model, found in by_model.items():
        evaluated = [u for u in found if u.evaluations]
        told = evaluated or found
        steps = max(u.steps for u in told)
        names = named([u.layer for u in told])
        used = (
            f", and {max(u.evaluations for u in told)} inference forwards normalized with them"
            if evaluated
            else ""
        )
        yield Finding(
            f"After {steps} training steps the running statistics of {names} are still mean 0 and variance 1: no update ever reached them{used}. "
            "Pass the buffers in training too, or recompute them before evaluating.",
            severity="error" if evaluated else "warning",
            model=recording.models[model].name,
            layers=tuple(u.layer.path for u in told),
            site=told[0].layer.site,
            steps=Steps(told[0].first, told[0].last, steps),
            measured=(Measured("updates of the running statistics", 0, "updates", low=1),),
            repairs=(recalibrated(),),
        )
    yield from kept_by_hand(recording)


def kept_by_hand(recording: Recording) -> Iterator[Finding]:
    """Layers of the user's own that evaluation gives 0 and 1, and training leaves so."""
    groups: dict[str, list[OwnStatistics]] = {}
    for own in own_statistics(recording.measurements.get("own_statistics", ())):
        still = own.fresh and not own.momentum
        if still and own.evaluations and own.steps >= LONG:
            groups.setdefault(own.name, []).append(own)
    for name, found in groups.items():
        names = named(found)
        yield Finding(
            f"After {found[0].steps} training steps the running statistics that {names} {'keeps' if len(found) == 1 else 'keep'} by hand "
            f"({', '.join(found[0].buffers)}) are still all 0 and 1: a training forward leaves them as they are, and {found[0].evaluations} "
            "inference forwards used them. Assign the new average to the layer's own buffers.",
            severity="error",
            confidence="medium",
            model=name,
            layers=tuple(x.path for x in found),
            measured=(Measured("updates of the running statistics", 0, "updates", low=1),),
            repairs=(
                Remedy(
                    "store the average",
                    "changes-function",
                    "self.mean.lerp_(batch_mean.detach(), momentum)",
                ),
            ),
        )


@dataclass(frozen=True, slots=True)
class Unmoved:
    layer: Layer
    first: int
    last: int
    steps: int
    evaluations: int  # inference forwards with the stored statistics, after training began


def unmoved_of(recording: Recording, layer: Layer) -> Unmoved | None:
    # Exactly 0 and 1 at the end is proof enough where the buffers came into sight only in evaluation.
    if layer.fresh_at_start is False or not layer.fresh_at_end or layer.updates:
        return None
    if recording.models[layer.model].parameters_changed is False:
        return None
    training = [s for s, _, c in recording.calls(layer.id, "training") if c.batch_stats]
    if not training:
        return None
    first, last = min(s.first_step for s in training), max(s.last_step for s in training)
    evaluations = sum(
        s.forwards
        for s, _, c in recording.calls(layer.id, "inference")
        if not c.batch_stats and s.last_step > first
    )
    steps = sum({id(s): s.steps for s in training}.values())
    if not evaluations and (steps < LONG or not layer.tracks or always_batch(recording, layer)):
        return None
    return Unmoved(layer, first, last, steps, evaluations)


def always_batch(recording: Recording, layer: Layer) -> bool:
    """Whether inference took place, and never with the stored statistics: then nobody misses them."""
    return any(c.batch_stats for _, _, c in recording.calls(layer.id, "inference"))


def _own(*, momentum: float = 0.0, evaluations: int = 4, steps: int = 200) -> dict[str, object]:
    own = OwnStatistics(
        model=0,
        name="Net",
        path="a",
        buffers=("mean", "var"),
        channels=8,
        momentum=momentum,
        fresh=not momentum,
        evaluations=evaluations,
        steps=steps,
    )
    return {"own_statistics": own}


CASES = (
    Faulty(
        "kept by hand, never assigned",
        ("a",),
        story="layer a; train a x200; infer a mode=eval",
        measured=_own(),
        severity="error",
    ),
    Healthy(
        "kept by hand, and moving",
        story="layer a; train a x200; infer a mode=eval",
        measured=_own(momentum=0.1),
    ),
    Healthy(
        "kept by hand, never used",
        story="layer a; train a x200; infer a mode=eval",
        measured=_own(evaluations=0),
    ),
    Healthy(
        "kept by hand, in a trial of the script",
        story="layer a; train a x200; infer a mode=eval",
        measured=_own(steps=5),
    ),
    Faulty(
        "evaluated",
        ("a", "b"),
        story="layer a fresh_at_end=True; layer b fresh_at_end=True; train a,b updates=False x100; infer a,b mode=eval x4",
        severity="error",
    ),
    Faulty(
        "few steps, evaluated",
        ("a",),
        story="layer a fresh_at_end=True; train a updates=False x3; infer a mode=eval",
        severity="error",
    ),
    Faulty(
        "buffers passed in evaluation only",
        ("a",),
        story="layer a fresh_at_end=True tracks=False; train a x100; infer a mode=eval",
        severity="error",
    ),
    Faulty(
        "buffers first seen in evaluation",
        ("a",),
        story="layer a fresh_at_start=None fresh_at_end=True tracks=False; train a x100; infer a mode=eval",
        severity="error",
    ),
    Faulty(
        "not evaluated",
        ("a",),
        story="layer a fresh_at_end=True; train a updates=False x100",
        severity="warning",
    ),
    Healthy("updated", story="layer a; train a x100; infer a mode=eval"),
    Healthy(
        "no running statistics",
        story="layer a tracks=False fresh_at_start=None fresh_at_end=None; train a x100; infer a mode=train",
    ),
    Healthy(
        "statistics kept by hand, unknown to us",
        story="layer a tracks=False fresh_at_start=None fresh_at_end=None; train a x100; infer a mode=eval",
    ),
    Healthy(
        "few steps, not evaluated", story="layer a fresh_at_end=True; train a updates=False x5"
    ),
    Healthy(
        "inference with batch statistics too",
        story="layer a fresh_at_end=True; train a updates=False x100; infer a updates=False x5",
    ),
    Healthy(
        "trained in eval mode",
        story="layer a fresh_at_end=True; train a mode=eval x100; infer a mode=eval",
    ),
    Healthy(
        "evaluated before training only",
        story="layer a fresh_at_end=True; infer a mode=eval; train a updates=False x10",
    ),
    Healthy(
        "pretrained",
        story="layer a fresh_at_start=False; train a updates=False x100; infer a mode=eval",
    ),
    Healthy("never trained", story="layer a fresh_at_end=True; infer a mode=eval x5"),
    Healthy(
        "forward passes with gradients, no change of weights",
        story="model parameters_changed=False; layer a fresh_at_end=True; train a updates=False x5; infer a mode=eval",
    ),
)
