# pyright: basic
"""The repairs that change a model's layers, as the command line calls them: on what a factory or a setup gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from normscope.probes.setup import call_of, prepared, setup_of
from normscope.repairs.batchnorm_folding import fold_batchnorm
from normscope.repairs.batchnorm_removal import remove_batchnorm
from normscope.repairs.certificate import Certificate
from normscope.repairs.conversion import convert
from normscope.repairs.gamma_reset import reset_gamma
from normscope.repairs.momentum import set_momentum
from normscope.repairs.norm_placement import move_before_addition
from normscope.repairs.redundant_bias import fold_redundant_bias

Outcome = tuple[Any, ...]  # the model, its certificate, and for some how checkpoints migrate


def _convert(to: str) -> Callable[..., Outcome]:
    def repair(model: nn.Module, *inputs: Any, **words: Any) -> Outcome:
        return convert(model, to, *inputs, **words)

    return repair


def _momentum(model: nn.Module, *inputs: Any, **words: Any) -> Outcome:
    del inputs
    options = {k: words[k] for k in ("momentum", "batch_factor") if k in words}
    return set_momentum(model, **options)


CALLS: dict[str, tuple[Callable[..., Outcome], str]] = {
    "fold-redundant-bias": (fold_redundant_bias, "fold_redundant_bias(model, x)"),
    "fold-batchnorm": (fold_batchnorm, "fold_batchnorm(model, x)"),
    "remove-batchnorm": (remove_batchnorm, "remove_batchnorm(model, x)"),
    "move-before-addition": (move_before_addition, "move_before_addition(model, x)"),
    "reset-gamma": (reset_gamma, ""),
    "set-momentum": (_momentum, "set_momentum(model)"),
    "freeze-batchnorm": (_convert("frozen"), "convert(model, 'frozen', x)"),
    **{
        f"convert-{to}": (_convert(to), f"convert(model, '{to}', x)")
        for to in ("sync", "group", "layer", "instance", "renorm", "ghost", "domain")
    },
}


def rebuild(
    name: str, made: object, target: str, options: dict[str, Any]
) -> tuple[Any, Certificate]:
    """Apply the repair of that name to a model, a pair of model and inputs, or a setup. Raises NormscopeError as the repair does."""
    call, python = CALLS[name]
    model, args, kwargs = _subject(made, target)
    words = _words(options)
    repaired, certificate, *_ = call(model, *args, **kwargs, **words)
    if python:
        # All that decides on the layers: with other words they would be others, and the weights might load all the same.
        told = "".join(f", {k}={v!r}" for k, v in words.items() if k != "calibrated")
        how = f"`normscope.repairs.{python[:-1]}{told})`"
        text = (
            f"momentum is not among the weights: set it by {how}"
            if name == "set-momentum"
            else f"the architecture changed: build it by {how}, then load these weights"
        )
        certificate = replace(certificate, warnings=(*certificate.warnings, text))
    return repaired, replace(certificate, repair=name)


def _words(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the command line as Python's."""
    words = dict(options)
    if words.pop("fixed_affine", False):
        words["trainable_affine"] = False
    return words


def _subject(made: object, target: str) -> tuple[nn.Module, tuple[Any, ...], dict[str, Any]]:
    """A model and what it is called with; nothing where no input came with it."""
    if isinstance(made, nn.Module):
        return made, (), {}
    if isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], nn.Module):
        model, inputs = made
        return model, tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,), {}
    setup = setup_of(made, f"`{target}`")
    asked = prepared(setup, samples=1)
    args, kwargs = call_of(asked.model, asked.train[0]) or ((), {})
    return asked.model, tuple(args), kwargs
