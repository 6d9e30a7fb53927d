# pyright: basic
"""Repairs of Keras models as the command line calls them: on what a factory or a setup gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from normscope.errors import NormscopeError
from normscope.repairs.certificate import Certificate
from normscope.repairs.keras.conversion import TARGETS, convert
from normscope.repairs.keras.momentum import set_momentum
from normscope.repairs.keras.recalibration import SAMPLES, recalibrate

KNOWN = ("recalibrate", "set-momentum", *(f"convert-{to}" for to in TARGETS))


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


def repaired(name: str, made: Any, options: dict[str, Any]) -> tuple[Any, Certificate]:
    """Raises NormscopeError for a repair, or an option, that Keras models do not have."""
    held: Any = made["model"] if isinstance(made, Mapping) else made
    model = held[0] if isinstance(held, tuple) else held
    to = name.removeprefix("convert-")
    if to != name and to in TARGETS:
        groups = options.pop("groups", None)
        if options:
            raise NormscopeError(
                f"`{name}` of a Keras model has no option `--{next(iter(options))}`."
            )
        return convert(model, to, groups=groups)
    if name != "set-momentum":
        raise NormscopeError(
            f"There is no repair `{name}` for Keras models yet. Known: {', '.join(KNOWN)}."
        )
    return set_momentum(model, **options)


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
