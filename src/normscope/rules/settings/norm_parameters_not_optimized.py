from __future__ import annotations

from collections.abc import Iterator

from normscope.concepts.wording import named
from normscope.finding import Finding, Measured, Remedy
from normscope.record.recording import Layer, Recording
from normscope.rule import Faulty, Healthy, rule

LONG = 20  # training steps; with fewer a later optimizer may still take them


@rule("NS206", severity="warning", since="0.1.0")
def norm_parameters_not_optimized(recording: Recording) -> Iterator[Finding]:
    r"""The scale and shift of a norm ask for gradients, but no optimizer holds them.

    ## What it checks
    Norms that normalized with batch statistics (or store none) in training forwards, whose scale or shift requires a
    gradient, stayed as it was, and belongs to no optimizer that stepped, while more than half of the parameters beside it do.

    ## Why it matters
    $\gamma$ and $\beta$ undo what normalization takes away; left at 1 and 0 they fix scale and place of every activation, and a gradient
    is computed for nothing. The network often still learns, which is why nobody notices. It happens when parameter groups are
    made by name, by kind or for weight decay and one is forgotten, or when layers are exchanged after the optimizer was made.

    ## Example
    ```python
    decay = [p for p in model.parameters() if p.ndim > 1]
    torch.optim.AdamW(decay, weight_decay=0.05)  # the norms and biases are in no group
    ```

    ## Repair
    `optimizer.add_param_group({"params": norm_parameters, "weight_decay": 0.0})`, or build the optimizer from
    `model.parameters()`. If the scale is to stay fixed, say so: `requires_grad_(False)`.

    ## Known limits
    Silent when gradients are switched off, when the layers around are not optimized either (a frozen or borrowed network), when
    the norm trained in eval mode (frozen on purpose), when only one of scale and shift is optimized, and when somebody moved them
    by hand or through another rank. An info below 20 steps, or when the norm began with learned statistics: then it may
    be a way of freezing. A learning rate of 0 is not seen.

    ## References
    - Ioffe & Szegedy, *Batch Normalization*, 2015, section 3. https://arxiv.org/abs/1502.03167
    - https://docs.pytorch.org/docs/stable/optim.html
    """
    by_model: dict[int, list[Layer]] = {}
    for layer in recording.layers.values():
        if left_out(recording, layer):
            by_model.setdefault(layer.model, []).append(layer)
    for model, layers in by_model.items():
        steps = max(steps_of(recording, x) for x in layers)
        deliberate = all(x.fresh_at_start is False for x in layers)
        names = named(layers)
        affected = f"{len(layers)} norm{'s' if len(layers) > 1 else ''} ({names})"
        yield Finding(
            f"Scale and shift of {affected} require gradients but are in no optimizer: unchanged after {steps} steps while the layers "
            "around them learned. Give them to the optimizer, or set `requires_grad_(False)`.",
            severity="info" if steps < LONG or deliberate else "warning",
            confidence="high" if not deliberate else "medium",
            model=recording.models[model].name,
            layers=tuple(x.path for x in layers),
            site=layers[0].site,
            measured=(
                Measured(
                    "norms whose parameters no optimizer holds", len(layers), "layers", high=0
                ),
            ),
            repairs=(
                Remedy(
                    "optimize them",
                    "changes-function",
                    f"optimizer.add_param_group({{'params': model.get_submodule({layers[0].path!r}).parameters()}})",
                ),
            ),
        )


def left_out(recording: Recording, layer: Layer) -> bool:
    if layer.trainable is not True or layer.optimized or layer.parameters_changed is not False:
        return False
    if not layer.feeders_optimized or not recording.models[layer.model].optimized:
        return False
    calls = [c for _, _, c in recording.calls(layer.id, "training")]
    return bool(calls) and all(c.batch_stats or not layer.tracks for c in calls)


def steps_of(recording: Recording, layer: Layer) -> int:
    spans = {id(s): s for s, _, _ in recording.calls(layer.id, "training")}
    return sum(s.steps for s in spans.values())


_OUT = "optimized=False parameters_changed=False feeders_optimized=True"
_LAYER = "type=LayerNorm kind=layer tracks=False fresh_at_start=None fresh_at_end=None"

CASES = (
    Faulty(
        "forgotten group",
        ("a", "b"),
        story=f"layer a {_OUT}; layer b {_OUT}; train a,b x100; infer a,b mode=eval",
        severity="warning",
    ),
    Faulty(
        "one new layer", ("b",), story=f"layer a; layer b {_OUT}; train a,b x20", severity="warning"
    ),
    Faulty(
        "layer norm",
        ("a",),
        story=f"layer a {_LAYER} {_OUT}; train a mode=eval x50",
        severity="warning",
    ),
    Faulty("nineteen steps", ("a",), story=f"layer a {_OUT}; train a x19", severity="info"),
    Faulty(
        "pretrained norms left out",
        ("a",),
        story=f"layer a {_OUT} fresh_at_start=False; train a x100",
        severity="info",
    ),
    Healthy("optimized", story="layer a feeders_optimized=True; train a x100"),
    Healthy(
        "optimized, with a gradient of 0", story="layer a parameters_changed=False; train a x100"
    ),
    Healthy("fixed on purpose", story=f"layer a {_OUT} trainable=False; train a x100"),
    Healthy("no scale", story=f"layer a {_OUT} affine=False trainable=None; train a x100"),
    Healthy(
        "head only: the backbone is not optimized",
        story="layer a optimized=False parameters_changed=False feeders_optimized=False; train a x100",
    ),
    Healthy(
        "surroundings unknown",
        story="layer a optimized=False parameters_changed=False; train a x100",
    ),
    Healthy(
        "frozen in eval mode", story=f"layer a {_OUT} fresh_at_start=False; train a mode=eval x100"
    ),
    Healthy(
        "moved by another rank, or by hand",
        story="layer a optimized=False parameters_changed=True feeders_optimized=True; train a x100",
    ),
    Healthy(
        "network that gradients pass through, such as a discriminator's judge",
        story=f"model optimized=False parameters_changed=False; layer a {_OUT}; train a x100",
    ),
    Healthy("never trained", story=f"layer a {_OUT}; infer a mode=eval x10"),
)
