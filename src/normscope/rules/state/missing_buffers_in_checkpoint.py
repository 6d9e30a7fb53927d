from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from normscope.concepts.recalibration import recalibrated
from normscope.concepts.wording import named
from normscope.evidence import Facts
from normscope.finding import Finding, Measured, Remedy, Severity, Steps
from normscope.probes import thresholds
from normscope.probes.results import Gap, LayerGap, Reading, gap_of
from normscope.record.recording import Layer, Loaded, Recording
from normscope.rule import Faulty, Healthy, rule

Way = Literal["partial", "misnamed", "copied", "learned"]


def by_its_keys(weights: Facts) -> Iterator[Finding]:
    """Without a run: the checkpoint's names against the model's."""
    whys: dict[Loaded, str] = {
        "parameters": "the checkpoint holds their parameters and no running statistics, so these stay at mean 0 and variance 1",
        "misnamed": "the checkpoint has everything under names with another prefix, so with `strict=False` nothing is loaded",
    }
    for loaded, why in whys.items():
        layers = [
            x for x in weights.layers if x.loaded == loaded and x.kind == "batch" and x.tracks
        ]
        if not layers:
            continue
        names = named(layers)
        yield Finding(
            f"{names} ({len(layers)} of {len(weights.layers)} norms): {why}. Save and load the whole `state_dict()`.",
            severity="error",
            layers=tuple(x.path for x in layers),
            measured=(
                Measured("norms with parameters and no statistics", len(layers), "layers", high=0),
            ),
            repairs=(_load_everything(misnamed=loaded == "misnamed"), recalibrated()),
        )


def _load_everything(*, misnamed: bool) -> Remedy:
    return Remedy(
        "load everything",
        "changes-function",
        "model.load_state_dict({k.removeprefix('module.'): v for k, v in state.items()})"
        if misnamed
        else "torch.save(model.state_dict(), file); model.load_state_dict(torch.load(file))",
    )


@rule(
    "NS410",
    severity="error",
    since="0.1.0",
    explains=("NS202", "NS404", "NS406", "NS408", "NS502", "NS503", "NS506", "NS601"),
    static=by_its_keys,
)
def missing_buffers_in_checkpoint(recording: Recording) -> Iterator[Finding]:
    """The parameters of a norm came from a checkpoint, its running statistics did not.

    ## What it checks
    Layers that normalize with running statistics of exactly 0 and 1, without ever having updated them, although their parameters
    were learned: a state dict held the parameters and not the statistics (`strict=False` says nothing); or it held
    everything under another prefix and nothing at all was loaded; or the parameters are, value for value, those of another model that was
    trained in this run; or the shift was not 0 when the layer was first seen. Also: parameters that a state dict brought back
    at the end without their statistics, where the gap probe measures that recomputed ones do better.

    ## Why it matters
    Running statistics are buffers: `state_dict()` holds them, `parameters()` and `named_parameters()` do not. With mean 0 and variance 1 the
    layer does not normalize at all, and the weights behind it get inputs that they never saw. Measured on digits: 28 % and
    82 % test accuracy where the complete checkpoint gives 94 % and 98 %.

    ## Example
    ```python
    torch.save({k: p for k, p in model.named_parameters()}, "best.pt")  # no running_mean, no running_var
    model.load_state_dict(torch.load("best.pt"), strict=False)
    ```

    ## Repair
    Save `model.state_dict()`, load it with `strict=True`, or look at the `missing_keys` that `load_state_dict` returns. For a checkpoint
    that lacks the statistics, recompute them from training data.

    ## Known limits
    Silent when the layer is new (neither parameters nor statistics in the checkpoint, as with a new head), when only
    `num_batches_tracked` is missing, when training or a pass in train mode moved the statistics afterwards, when the checkpoint itself
    holds 0 and 1 (statistics folded into scale and shift), and when the layer is never used in eval mode. An average of
    several models is NS409's. A learned shift alone is a warning: somebody may have drawn it at random.

    ## References
    - https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.load_state_dict
    - https://github.com/torch/nn/issues/1165
    """
    groups: dict[tuple[int, Way], list[Layer]] = {}
    for layer in recording.layers.values():
        if used(recording, layer) and (way := initial(recording, layer)):
            groups.setdefault((layer.model, way), []).append(layer)
    for (model, way), layers in groups.items():
        yield _initial(recording, model, way, layers)
    told = {model for model, _ in groups}
    for model in recording.models.keys() - told:
        if (gap := gap_of(recording.measurements.get("gap", ()), model)) and (
            layers := brought_back(recording, model)
        ):
            yield from _stale(recording, gap, layers)


def used(recording: Recording, layer: Layer) -> bool:
    """Whether the layer normalized with its running statistics, which are what they were in the beginning."""
    if not (layer.tracks and layer.fresh_at_start and layer.fresh_at_end) or layer.updates:
        return False
    return any(not c.batch_stats for _, _, c in recording.calls(layer.id))


def initial(recording: Recording, layer: Layer) -> Way | None:
    """How learned parameters came to a layer with initial statistics; None when nothing says that they did."""
    if layer.loaded == "parameters":
        return "partial"
    model = recording.models[layer.model]
    if layer.loaded == "complete" or model.optimized:
        return None
    if layer.loaded == "misnamed":
        return "misnamed"
    if model.restored_from is not None:
        return "copied"
    # A copy with other values is an average, a teacher, or one of several that are drawn at random.
    alone = model.copy_of is None and model.parameters_changed is False
    return "learned" if alone and layer.beta_rms_at_start and not layer.parameters_changed else None


def brought_back(recording: Recording, model: int) -> list[Layer]:
    """Layers whose parameters a state dict replaced after their last training step, and nothing since."""
    found: list[Layer] = []
    for layer in recording.layers.values():
        if layer.model == model and layer.loaded == "parameters" and layer.updates:
            moves = [s.last_step for s, _, c in recording.calls(layer.id) if c.updates]
            if max(moves, default=-1) < layer.loaded_step:
                found.append(layer)
    return found


def _initial(recording: Recording, model: int, way: Way, layers: list[Layer]) -> Finding:
    record = recording.models[model]
    names = named(layers)
    trained = recording.models.get(record.restored_from if record.restored_from is not None else -1)
    what = f"{names} normalize{'s' if len(layers) == 1 else ''} with running mean 0 and variance 1, the initial ones"
    why = {
        "partial": "the state dict that was loaded holds their parameters and no running statistics",
        "misnamed": "the state dict that was loaded has them under names with another prefix, so nothing was loaded",
        "copied": f"the parameters are those of the trained `{trained.name if trained else record.name}`, its running statistics were not copied",
        "learned": "the parameters were learned elsewhere (the shift is not 0), the running statistics did not come along",
    }[way]
    severity: Severity = "warning" if way == "learned" else "error"
    return Finding(
        f"{what}: {why}. Save and load the whole `state_dict()`.",
        severity=severity,
        confidence="medium" if way == "learned" else "high",
        model=record.name,
        layers=tuple(x.path for x in layers),
        site=layers[0].loaded_site or record.site,
        measured=(
            Measured("norms with parameters and no statistics", len(layers), "layers", high=0),
        ),
        repairs=(
            _load_everything(misnamed=way == "misnamed"),
            recalibrated(),
        ),
    )


def _stale(recording: Recording, gap: Gap, layers: list[Layer]) -> Iterator[Finding]:
    severity = thresholds.staleness(gap)
    if severity not in ("warning", "error"):
        return
    names = named(layers)
    step = layers[0].loaded_step
    yield Finding(
        f"After step {step} a state dict brought back the parameters of {names} without their running statistics, which are still those of the "
        f"last step: on the same data recomputed ones do better by {gap.stale.value:.3g} {gap.measure}. Save and load the whole `state_dict()`.",
        severity=severity,
        confidence=thresholds.confidence(gap),
        model=gap.name,
        layers=tuple(x.path for x in layers),
        site=layers[0].loaded_site or recording.models[gap.model].site,
        steps=Steps(step, step, 1),
        measured=(
            Measured(
                f"{gap.measure}: running − recomputed statistics",
                gap.stale.value,
                gap.unit,
                high=3 * gap.stale.noise,
                noise=gap.stale.noise,
            ),
        ),
        repairs=(recalibrated(),),
    )


_FRESH = "fresh_at_end=True optimized=False parameters_changed=False beta_rms_at_start=0.2"
_IDLE = "model optimized=False parameters_changed=False"


def _gap(stale: float, noise: float = 0.004) -> dict[str, object]:
    return {"gap": Gap(model=0, name="Net", measure="error", unit="1", samples=1440, batches=45,
        batch=Reading(0.0, 0.0), population=Reading(0.01, 0.002), running=Reading(0.01 + stale, 0.002),
        stale=Reading(stale, noise), inconsistent=Reading(0.01, 0.01), layers=(LayerGap(0, "a", 0.3, 0.2, 0.05, 1.0),))}  # fmt: skip


CASES = (
    Faulty(
        "loaded with strict=False",
        ("a", "b"),
        story=f"{_IDLE}; layer a {_FRESH} loaded=parameters; layer b {_FRESH} loaded=parameters; infer a,b mode=eval x5",
        severity="error",
    ),
    Faulty(
        "fine-tuned with frozen norms",
        ("a",),
        story="layer a fresh_at_end=True loaded=parameters; train a mode=eval x100; infer a mode=eval",
        severity="error",
    ),
    Faulty(
        "prefix of data parallelism",
        ("a",),
        story=f"{_IDLE}; layer a {_FRESH} loaded=misnamed; infer a mode=eval",
        severity="error",
    ),
    Faulty(
        "parameters copied one by one from the trained model",
        ("a",),
        story=f"{_IDLE} copy_of=1 restored_from=0; layer a {_FRESH}; infer a mode=eval",
        severity="error",
    ),
    Faulty(
        "parameters from a file, one by one",
        ("a",),
        story=f"{_IDLE}; layer a {_FRESH}; infer a mode=eval scored=1",
        severity="warning",
    ),
    Faulty(
        "best parameters brought back, and it costs",
        ("a",),
        story="layer a loaded=parameters loaded_step=100; train a x100; infer a mode=eval",
        measured=_gap(0.08),
        severity="error",
    ),
    Healthy(
        "everything was loaded",
        story=f"{_IDLE}; layer a {_FRESH} loaded=complete fresh_at_start=False fresh_at_end=False; infer a mode=eval",
    ),
    Healthy(
        "a checkpoint that holds 0 and 1",
        story=f"{_IDLE}; layer a {_FRESH} loaded=complete; infer a mode=eval",
    ),
    Healthy(
        "new head with a norm of its own",
        story="layer a loaded=complete fresh_at_start=False; layer b; train a,b x100; infer a,b mode=eval",
    ),
    Healthy(
        "trained afterwards", story="layer a loaded=parameters; train a x100; infer a mode=eval"
    ),
    Healthy(
        "statistics recomputed afterwards",
        story=f"{_IDLE}; layer a {_FRESH} loaded=parameters fresh_at_end=False; infer a mode=train momentum=None x20; infer a mode=eval",
    ),
    Healthy(
        "used with batch statistics only",
        story=f"{_IDLE}; layer a {_FRESH} loaded=parameters; infer a mode=train updates=False x5",
    ),
    Healthy(
        "never called",
        story=f"{_IDLE}; layer a {_FRESH} loaded=parameters; layer b; infer b mode=eval",
    ),
    Healthy(
        "random network, never trained",
        story=f"{_IDLE}; layer a {_FRESH} beta_rms_at_start=0.0; infer a mode=eval x10",
    ),
    Healthy(
        "average of a trained model",
        story=f"{_IDLE} copy_of=1; layer a {_FRESH}; infer a mode=eval",
    ),
    Healthy(
        "parameters drawn again and again",
        story=f"model optimized=False parameters_changed=True; layer a {_FRESH} parameters_changed=True; infer a mode=eval x10",
    ),
    Healthy(
        "wrong prefix, then trained from scratch",
        story="layer a loaded=misnamed; train a x100; infer a mode=eval",
    ),
    Healthy(
        "no running statistics",
        story="layer a tracks=False fresh_at_start=None fresh_at_end=None loaded=parameters; infer a mode=train",
    ),
    Healthy(
        "best parameters brought back, at no cost",
        story="layer a loaded=parameters loaded_step=100; train a x100; infer a mode=eval",
        measured=_gap(0.001),
    ),
    Healthy(
        "parameters loaded before training",
        story="layer a loaded=parameters; train a x100; infer a mode=eval",
        measured=_gap(0.08),
    ),
    Faulty(
        "a file of parameters, only looked at",
        ("a",),
        static="layer a loaded=parameters; layer b loaded=complete",
        severity="error",
    ),
    Faulty("another prefix, only looked at", ("a",), static="layer a loaded=misnamed"),
    Healthy("everything is in the file, only looked at", static="layer a loaded=complete"),
    Healthy("a new head, only looked at", static="layer a loaded=complete; layer b"),
    Healthy(
        "group norm has no statistics, only looked at",
        static="layer a kind='group' tracks=False loaded=parameters",
    ),
)
