"""Findings of a Keras model in Keras' own words. Imports no framework.

Rules are written in PyTorch's words and judge by meaning, which is the same; what differs is what things are called, what
momentum weighs, and the line of code that mends it. A phrase that is not in these tables reads as it does for PyTorch.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from re import Match

from normscope.finding import Finding, Measured, Remedy

RECALL = "`training=True` only in `fit` and in the training step"


def in_keras(finding: Finding) -> Finding:
    """The finding with its message, measured numbers and repairs as a Keras user knows them."""
    return replace(
        finding,
        message=told(finding.message),
        measured=tuple(_measured(m) for m in finding.measured),
        repairs=tuple(_remedy(finding, r) for r in finding.repairs),
    )


def told(text: str) -> str:
    """The text with Keras' words."""
    for pattern, meant in _PHRASES:
        text = pattern.sub(meant, text)
    return text


def _measured(m: Measured) -> Measured:
    return replace(m, name=told(m.name))


def _remedy(finding: Finding, remedy: Remedy) -> Remedy:
    special = _REMEDIES.get((finding.code, remedy.name)) or _REMEDIES.get(("", remedy.name))
    if special is None:
        return replace(remedy, command=told(remedy.command))
    layer = finding.layers[0] if finding.layers else "norm"
    named = layer.rpartition("/")[2]
    return replace(remedy, command=special.replace("LAYER", f'model.get_layer("{named}")'))


def momentum(alpha: float) -> float:
    """Keras' momentum, the weight of the old average, for the weight of the new batch."""
    return round(1 - alpha, 6)


def _momentum(match: Match[str]) -> str:
    return f"momentum={momentum(float(match[1])):g}"


def _momentum_told(match: Match[str]) -> str:
    alpha = float(match[1])
    return f"momentum={momentum(alpha):g}, in Keras the weight of the old average, so that a new batch has α = {alpha:g}"


def _upper(match: Match[str]) -> str:
    return f"M{match[1]} {momentum(float(match[2])):g} (α = {match[2]})"


_NUMBER = r"([0-9.]+(?:e-?[0-9]+)?)(?<!\.)"
_TABLE: tuple[tuple[str, str | Callable[[Match[str]], str]], ...] = (
    (rf"momentum={_NUMBER}, in PyTorch the weight of the new batch", _momentum_told),
    (rf"momentum={_NUMBER}(?![0-9.]*, in Keras)", _momentum),
    (rf"\bM(omentum) {_NUMBER}", _upper),
    (r"If that was meant as momentum, name it: the second argument is eps", "If that was meant as momentum, name it"),
    (r"eps=1e-05", "epsilon=0.001"),
    (r"Transpose around the norm", "Name the axis of the features: `axis=-1`, or `axis=1` for `channels_first`"),
    (r"\beps\b", "epsilon"),
    (r"\bbias=False\b", "use_bias=False"),
    (r"\brunning_mean\b", "moving_mean"),
    (r"\brunning_var\b", "moving_variance"),
    (r"\brunning (statistics|ones|mean|variances?|average|sd)\b", r"moving \1"),
    (r"\bRunning (statistics|means?|variances?)\b", r"Moving \1"),
    (r"\brunning − ", "moving − "),
    (r"over running\b", "over moving"),
    (r"Pass `training=self\.training`", "Hand on the `training` argument of `call`"),
    (r", and do not call `train\(\)` on parts of the model while it is evaluated", ""),
    (r"their training flag is fixed", "`training=True` is fixed for them, or for a layer called before them, which hands it on"),
    (r"a training flag is fixed", "`training=True` is fixed for them, or for a layer called before them"),
    (r"the training flag is fixed, `eval\(\)` does not change it", "`training=True` is fixed, `training=False` does not reach it"),
    (r"a training flag that `eval\(\)` did not switch", "a `training` argument that the model's own did not switch"),
    (r"(C|c)all `eval\(\)` on the model before evaluating", r"\1all the model with `training=False` when evaluating"),
    (r"(C|c)all `eval\(\)` on the model first", r"\1all it with `training=False`"),
    (r"(C|c)all `train\(\)` on the model after every evaluation", r"\1all the model with `training=True` in the training step"),
    (r"until `train\(\)` was called again", "until `training=True` was passed again"),
    (
        r"(C|c)all `eval\(\)` on the frozen part after every `train\(\)`",
        r"set `trainable = False` on the norm layers themselves, and \1ompile again",
    ),
    (r"`eval\(\)` (does|did) not reach", r"`training=False` \1 not reach"),
    (r"that eval\(\) did not reach", "that training=False did not reach"),
    (r"outside of modules\(\)", "that the model does not hold"),
    (r"(in no module's children|no module's children lead there)", "no part of the model"),
    (r" \(a plain list or dict, or built in `forward`\)", " (built in `call`)"),
    (r"`state_dict\(\)` leaves them out", "`save_weights` leaves them out"),
    (r"Build norms in `__init__` and hold them in `nn\.ModuleList` or `nn\.ModuleDict`", "Build norms in `__init__`, not in `call`"),
    (r"Hold them in `nn\.ModuleList` or `nn\.ModuleDict`", "Build them in `__init__`"),
    (r" \(`track_running_stats=False`\)", ""),
    (r"Remove that setting and train again", "Keep moving statistics and train again"),
    (r"Save and load the whole `state_dict\(\)`", "Save and load with `save_weights` and `load_weights`"),
    (r"built anew in every forward\b", "built anew in every call"),
    (r", or set `requires_grad_\(False\)`", ", or set `trainable = False`"),
    (r"require gradients but", "are trainable but"),
    (r"Pass the buffers in training too", "Assign the new averages in training, or pass `training=True` there"),
    (r"the layer's own buffers", "the layer's own variables"),
    (r"average the buffers too", "average the moving statistics too"),
    (r"\bbuffers\b", "moving statistics"),
    (r"Put the norm layers in train mode", "Let the norm layers use the batch's statistics"),
    (r"\bin eval mode\b", "with training=False"),
    (r"\bin train mode\b", "with training=True"),
    (r"\bIn evaluation mode\b", "With training=False"),
    (r"\bin evaluation mode\b", "with training=False"),
    (r"nn\.GroupNorm\((\d+|groups), (\d+|channels)\)", r"keras.layers.GroupNormalization(\1)"),
    (r"nn\.LayerNorm\(\w+\)", "keras.layers.LayerNormalization()"),
    (r"nn\.LayerNorm\b", "keras.layers.LayerNormalization"),
    (r"instead of InstanceNorm on a map of one position", "instead of one group for each channel"),
    (r"nn\.BatchNorm\dd\(\w+\)", "keras.layers.BatchNormalization()"),
    (r"`nn\.ModuleList\((keras\.layers\.BatchNormalization\(\)) for _ in inputs\)`", r"`[\1 for _ in inputs]`"),
    (r"`nn\.ModuleList` of", "a list of"),
    (r"nn\.ModuleDict\((\{.*?\})\)", r"\1"),
    (r"`nn\.Sequential\(linear, batch_norm, relu, dropout\)`", "`Dense`, `BatchNormalization`, `ReLU`, `Dropout`"),
    (r"`nn\.Sequential\(linear, .*?, nn\.Tanh\(\)\)`", '`Dense`, `BatchNormalization`, `Activation("tanh")`'),
    (r"nn\.Dropout\(", "keras.layers.Dropout("),
    (r"DataLoader\(\.\.\., batch_size=(\d+), drop_last=True\)", r"dataset.batch(\1, drop_remainder=True)"),
    (r"DataLoader\(\.\.\., drop_last=True\)", "dataset.batch(n, drop_remainder=True)"),
    (r"DataLoader\(\.\.\., shuffle=True\)", "fit(..., shuffle=True)"),
    (r"torch\.optim\.SGD\(\.\.\., weight_decay=", "keras.optimizers.SGD(..., weight_decay="),
)  # fmt: skip
_PHRASES = tuple((re.compile(pattern), meant) for pattern, meant in _TABLE)

# By the rule's code, or "" for all, and the remedy's name.
_REMEDIES = {
    ("", "normalize each feature"): "`BatchNormalization(axis=-1)` where features are last, `axis=1` for `channels_first`",
    ("", "follow the mode"): "`self.norm(x, training=training)` in `call(self, x, training=None)`, with no constant",
    ("", "register the layers"): "`self.norm = keras.layers.BatchNormalization()` in `__init__`",
    ("NS407", "running-statistics"): "`self.norm(x, training=training)` in `call(self, x, training=None)`",
    ("", "start the scale at 1"): 'LAYER.gamma.assign(keras.ops.ones_like(LAYER.gamma)), or gamma_initializer="ones"',
    ("", "exchange the weights"): "moving = momentum * moving + (1 - momentum) * batch",
    ("", "optimize them"): "`LAYER.trainable = True` before `compile`",
    ("", "no decay for vectors"): 'optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])',
    ("NS207", "bound the correction"): 'renorm_clipping={"rmax": 3, "rmin": 1 / 3, "dmax": 5}',
    ("", "one-forward"): "`keras.ops.split(model(keras.ops.concatenate([source, target])), 2)`",
    ("", "normalize real positions"): "hand the mask on: `norm(x, mask=mask)`",
    ("", "evaluation-mode"): f"`model(x, training=False)`; {RECALL}",
    ("", "training-mode"): "`model(x, training=True)` in the training step",
    ("", "freeze-statistics"): "`LAYER.trainable = False` for the norm layers, then `compile` again",
    ("NS404", "train the norm layers"): "`LAYER.trainable = True`, then `compile` again",
    ("", "store the average"): "self.moving_mean.assign(momentum * self.moving_mean + (1 - momentum) * batch_mean)",
    ("", "load everything"): '`model.save_weights("best.weights.h5")`, `model.load_weights("best.weights.h5")`',
    ("", "reset the statistics"): "LAYER.moving_mean.assign(keras.ops.zeros_like(LAYER.moving_mean)); "
    "LAYER.moving_variance.assign(keras.ops.ones_like(LAYER.moving_variance))",
    ("", "reset-scale-and-shift"): "LAYER.gamma.assign(keras.ops.ones_like(LAYER.gamma)) before training again",
    ("", "look at the input"): "print(keras.ops.var(keras.Model(model.inputs, LAYER.input)(x), axis=0))",
    ("", "keep norms in float32"): '`keras.layers.BatchNormalization(dtype="float32")`',
    ("", "recalibrate-on-domain"): "`normscope.recalibrate(keras.models.clone_model(model), data)` with unlabeled data of that domain alone",
}  # fmt: skip
