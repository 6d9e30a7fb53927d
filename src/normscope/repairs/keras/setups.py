# pyright: basic
"""Repairs of Keras models as the command line calls them: on what a factory or a setup gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from normscope.errors import NormscopeError
from normscope.probes.keras.setup import prepared
from normscope.record.keras.batches import Kept
from normscope.repairs.certificate import Certificate
from normscope.repairs.keras.conversion import TARGETS, convert
from normscope.repairs.keras.folding import (
    fold_batchnorm,
    fold_redundant_bias,
    remove_batchnorm,
)
from normscope.repairs.keras.freezing import freeze
from normscope.repairs.keras.momentum import set_momentum
from normscope.repairs.keras.recalibration import SAMPLES, recalibrate

ON_LAYERS: Mapping[str, Callable[..., tuple[Any, Certificate]]] = {
    "fold-redundant-bias": fold_redundant_bias,
    "fold-batchnorm": fold_batchnorm,
    "remove-batchnorm": remove_batchnorm,
    "freeze-batchnorm": freeze,
}
KNOWN = ("recalibrate", "set-momentum", *(f"convert-{to}" for to in TARGETS), *ON_LAYERS)


def recalibrated(
    made: Any, target: str, *, progress: Callable[[int], None], **options: Any
) -> tuple[Any, Certificate]:
    """Raises NormscopeError for a setup without data, or an option that only PyTorch's repair has."""
    if strange := [o for o in options if o != "samples"]:
        raise NormscopeError(
            f"`recalibrate` of a Keras model has no option `--{strange[0]}`. It has: --samples."
        )
    if not isinstance(made, Mapping) or made.get("train") is None:
        raise NormscopeError(
            f"`{target}` gives a Keras model without data, but a dict with both was expected: "
            "`return {'model': model, 'train': x}`."
        )
    samples = options.get("samples", SAMPLES) or None  # 0: all of them
    return made["model"], recalibrate(
        made["model"], made["train"], samples=samples, progress=progress
    )


def repaired(name: str, made: Any, target: str, options: dict[str, Any]) -> tuple[Any, Certificate]:
    """Raises NormscopeError for a repair, or an option, that Keras models do not have."""
    if name not in KNOWN:
        raise NormscopeError(
            f"There is no repair `{name}` for Keras models yet. Known: {', '.join(KNOWN)}."
        )
    to = name.removeprefix("convert-")
    has = {"set-momentum": ("momentum", "batch_factor"), "convert-group": ("groups",)}.get(name, ())
    if strange := [o for o in options if o not in has]:
        raise NormscopeError(f"`{name}` of a Keras model has no option `--{strange[0]}`.")
    model, batch = _subject(made, target)
    if name == "set-momentum":
        return set_momentum(model, **options, batch=batch)
    if to != name:
        return convert(model, to, **options, batch=batch)
    return ON_LAYERS[name](model, batch)


def _subject(made: Any, target: str) -> tuple[Any, Kept | None]:
    """The model, and a batch of what it is trained on where that was given."""
    if isinstance(made, Mapping):
        if made.get("train") is None:
            return made["model"], None
        return made["model"], prepared(made, f"`{target}`", samples=1).train[0]
    if isinstance(made, tuple):
        model, *inputs = made
        held = {"model": model, "train": inputs[:1]}
        return model, prepared(held, f"`{target}`").train[0] if inputs else None
    return made, None


def save(model: Any, path: Any) -> None:
    """Write the variables, or with `.keras` the whole model. Raises NormscopeError for another suffix."""
    check_suffix(path)
    if path.suffix == ".keras":
        model.save(path)
    else:
        model.save_weights(path)


def check_suffix(path: Any) -> None:
    if not path.name.endswith((".weights.h5", ".keras")):
        raise NormscopeError(
            f"Which format is `{path}`? Name it `{path.name.partition('.')[0]}.weights.h5`, or `.keras` for the whole model."
        )
