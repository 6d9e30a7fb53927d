# pyright: basic
"""Another norm in place of batch norm: the model is built anew from its configuration, its weights are carried over."""

from __future__ import annotations

from math import gcd
from typing import Any

import keras

from normscope.errors import NormscopeError
from normscope.graph.keras import paths_in
from normscope.graph.keras.values import read
from normscope.repairs.certificate import Certificate

GROUPS = 32
TARGETS = ("group", "layer", "instance")


def convert(model: Any, to: str, *, groups: int | None = None) -> tuple[Any, Certificate]:
    """A copy of a functional or sequential model with other norms, and what was done. The model itself is left as it is.

    Scale and shift are kept, channel by channel; moving statistics are dropped, as the new norms take theirs from each sample. The function
    changes, so the copy wants training.

    Args:
        model: functional or sequential, nested ones included.
        to: `group`, `layer` (over the channels of each position) or `instance`.
        groups: of `group`; by default 32, or the largest number below that divides the channels.

    Raises NormscopeError for another target, for groups that do not divide the channels, for a subclassed model, and when there is no
    batch norm.
    """
    if to not in TARGETS:
        raise NormscopeError(f"convert got `{to}`, but expected one of {', '.join(TARGETS)}.")
    if not isinstance(model, keras.Sequential) and not hasattr(model, "_nodes_by_depth"):
        raise NormscopeError(
            f"convert got a {type(model).__name__}, a subclassed model, but one that is built of layers alone was expected. Exchange "
            "the layers in its source."
        )
    done: list[str] = []

    def exchanged(layer: Any) -> Any:
        if not isinstance(layer, keras.layers.BatchNormalization):
            return layer.__class__.from_config(layer.get_config())
        made = _new(layer, to, groups)
        done.append(layer.name)
        return made

    words: dict[str, Any] = {} if isinstance(model, keras.Sequential) else {"call_function": _call}
    copy = keras.models.clone_model(model, clone_function=exchanged, recursive=True, **words)
    if not done:
        raise NormscopeError("convert found no BatchNormalization in the model.")
    _carry(model, copy)
    shown = ", ".join(done[:3]) + (", …" if len(done) > 3 else "")
    return copy, Certificate(
        repair=f"convert-{to}",
        kind="changes-function",
        model=type(model).__name__,
        done=f"{len(done)} batch norms became {to} norms ({shown})",
        checkpoints="moving statistics are gone; all other variables keep their names",
        warnings=(
            "compile the copy, and train it: what it computes is no longer what was trained",
        ),
    )


def _call(layer: Any, *args: Any, **kwargs: Any) -> Any:
    """Layers are called as they were, but those that take no mask, as batch norm does, get none."""
    if not layer._call_has_mask_arg:
        kwargs.pop("mask", None)
    return layer(*args, **kwargs)


def _new(layer: Any, to: str, groups: int | None) -> Any:
    channels = int(layer.moving_mean.shape[0])
    words = {
        "axis": layer.axis,
        "epsilon": layer.epsilon,
        "center": layer.center,
        "scale": layer.scale,
        "name": layer.name,
        "dtype": layer.dtype_policy,
        "trainable": layer.trainable,
    }
    if to == "layer":
        return keras.layers.LayerNormalization(**words)
    count = -1 if to == "instance" else groups if groups is not None else gcd(channels, GROUPS)
    if count > 0 and channels % count:
        raise NormscopeError(
            f"convert got {count} groups, but `{layer.name}` has {channels} channels. Expected a divisor of them."
        )
    return keras.layers.GroupNormalization(groups=count, **words)


def _carry(model: Any, copy: Any) -> None:
    """Every variable of a layer that is still there, by the names that lead to it."""
    new = dict(paths_in(copy))
    for path, layer in paths_in(model):
        there = new.get(path)
        if there is None:
            continue
        named = _named(there)
        for name, variable in _named(layer).items():
            if name in named and tuple(named[name].shape) == tuple(variable.shape):
                named[name].assign(read(variable))


def _named(layer: Any) -> dict[str, Any]:
    own = [*layer._trainable_variables, *layer._non_trainable_variables]
    return {
        f"{v.name}.{i}" if [w.name for w in own].count(v.name) > 1 else v.name: v
        for i, v in enumerate(own)
    }
