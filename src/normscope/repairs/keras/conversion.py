# pyright: basic
"""Another norm in place of batch norm: the model is built anew from its configuration, its weights are carried over."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras

from normscope.errors import NormscopeError
from normscope.graph.keras.values import read
from normscope.record.keras.batches import Kept
from normscope.record.keras.norms import norms_in, put_statistics
from normscope.repairs.certificate import Certificate, LeftAlone
from normscope.repairs.conversion.groups import LEAST, groups_for
from normscope.repairs.keras.certifying import differences
from normscope.repairs.keras.rebuilding import rebuilt, twins

TARGETS = ("group", "layer", "instance", "renorm")
WORDS = {
    "group": "group norms",
    "layer": "layer norms",
    "instance": "instance norms",
    "renorm": "batch renormalization, with rmax 3 and dmax 5",
}
BOUNDS = {"rmax": 3.0, "rmin": 1 / 3, "dmax": 5.0}  # Ioffe 2017, section 4


def convert(
    model: Any, to: str, *, groups: int | None = None, batch: Kept | None = None
) -> tuple[Any, Certificate]:
    """A copy of a model with other norms, and what was done. The model itself is left as it is.

    Scale and shift are kept, channel by channel; moving statistics are dropped, as the new norms take theirs from each sample. The function
    changes, so the copy wants training.

    Args:
        model: functional, sequential, or of a class with `get_config`; nested ones included.
        to: `group`, `layer` (over the channels of each position), `instance` or `renorm`.
        groups: of `group`; by default 32, or the largest number below that divides the channels, of features 8 or more to a group.
        batch: training data; the difference is measured on them, and a subclassed model is built with them.

    Raises NormscopeError for another target, for groups that do not divide the channels, for a model that cannot be built again, and
    when there is no batch norm.
    """
    if to not in TARGETS:
        raise NormscopeError(f"convert got `{to}`, but expected one of {', '.join(TARGETS)}.")
    chosen = [
        (path, x) for path, x in norms_in(model) if isinstance(x, keras.layers.BatchNormalization)
    ]
    if not chosen:
        raise NormscopeError("convert found no BatchNormalization in the model.")
    exchange = {id(x): partial(_new, x, to, groups) for _, x in chosen}
    copy = rebuilt(model, exchange, batch)
    exchanged = _renormalizes if to == "renorm" else _is_other
    places = _places(model, copy, chosen)
    done = [p for p, twin in places if exchanged(twin)]
    left = [
        LeftAlone(path=p, reason="the layer around it makes it when it is built: exchange it there")
        for p, twin in places
        if not exchanged(twin)
    ]
    for (_, here), (_, twin) in zip(chosen, places, strict=True):
        if _renormalizes(twin) and not _renormalizes(here):
            put_statistics(twin, read(twin.moving_mean), read(twin.moving_variance))
    shown = ", ".join(done[:3]) + (", …" if len(done) > 3 else "")
    return copy, Certificate(
        repair=f"convert-{to}",
        kind="changes-function",
        model=type(model).__name__,
        done=f"{len(done)} batch norms became {WORDS[to]} ({shown})",
        left=tuple(left),
        differences=differences(model, copy, batch),
        checkpoints="unchanged but for variables of the correction"
        if to == "renorm"
        else "moving statistics are gone; all other variables keep their names",
        warnings=(
            "compile the copy, and train it: what it computes is no longer what was trained",
        ),
    )


def _is_other(layer: Any) -> bool:
    return not isinstance(layer, keras.layers.BatchNormalization)


def _renormalizes(layer: Any) -> bool:
    return bool(getattr(layer, "renorm", False))


def _places(model: Any, copy: Any, chosen: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    there = {id(here): twin for here, twin in twins(model, copy)}
    return [(path, there.get(id(x), x)) for path, x in chosen]


def _new(layer: Any, to: str, groups: int | None) -> Any:
    if to == "renorm":
        # Its own statistics follow as fast as the moving ones: Keras' 0.99 would leave them behind in short runs.
        words = {"renorm": True, "renorm_clipping": BOUNDS, "renorm_momentum": layer.momentum}
        return layer.__class__.from_config({**layer.get_config(), **words})
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
    if to == "instance" and not _has_positions(layer):
        raise NormscopeError(
            f"convert got `instance`, but `{layer.name}` normalizes single values of {channels} features: each would become its shift. "
            "Choose `layer` or `group`."
        )
    count = -1 if to == "instance" else groups if groups is not None else _groups(layer, channels)
    if count > 0 and channels % count:
        raise NormscopeError(
            f"convert got {count} groups, but `{layer.name}` has {channels} channels. Expected a divisor of them."
        )
    return keras.layers.GroupNormalization(groups=count, **words)


def _groups(layer: Any, channels: int) -> int:
    try:
        return groups_for(channels, LEAST if _has_positions(layer) else 1)
    except NormscopeError as error:
        raise NormscopeError(
            f"convert cannot group the values of `{layer.name}`: {error}."
        ) from None


def _has_positions(layer: Any) -> bool:
    spec = layer.input_spec
    return spec is None or spec.ndim is None or spec.ndim > 2
