"""Static answers: what the code of a model alone says, without training and without data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from normscope.checking.inputs import InputSpec
from normscope.checking.target import find, made_by, user_code
from normscope.diagnosis import Diagnosis, diagnose
from normscope.rule import Rule

if TYPE_CHECKING:
    from torch import nn

__all__ = ["check", "check_target"]


def check(
    model: nn.Module, *inputs: Any, rules: Sequence[Rule] | None = None, **kwargs: Any
) -> Diagnosis:
    """Judge a model by its code: its norm layers and, where inputs are given, its graph in both modes.

    Args:
        model: left as it is: modes, parameters, buffers and random states.
        inputs: what the model is called with; without any only settings and buffers are judged.
        rules: default: all that are on by default.
        kwargs: passed on to the model as well.

    Raises NormscopeError when the model's forward pass raises.
    """
    from normscope.checking.torch import static_recording

    given = inputs if inputs or kwargs else None
    return diagnose(
        static_recording(model, given, target=type(model).__name__, kwargs=kwargs), rules
    )


def check_target(
    target: str,
    specs: Sequence[InputSpec] = (),
    *,
    weights: Path | None = None,
    rules: Sequence[Rule] | None = None,
) -> Diagnosis:
    """Judge what `package.module:factory` or `file.py:factory` gives.

    Args:
        target: a model, or a factory of one; it may come as a pair with its example inputs.
        specs: the inputs; they replace those of the factory.
        weights: a checkpoint to put into the model first.
        rules: default: all that are on by default.

    Raises NormscopeError for whatever cannot be found, built or run.
    """
    with user_code("importing PyTorch"):
        from normscope.checking.origins import defined_at, origins, with_places
        from normscope.checking.torch import example_of, static_recording, tensors_from

    with origins() as built:
        found = find(target)
        example = example_of(made_by(found, target), target)
    if specs:
        example = replace(example, args=tensors_from(specs), kwargs={})
    loaded = None
    if weights is not None:
        from normscope.checking.weights import load_into

        loaded = load_into(example.model, weights)
    recording = static_recording(
        example.model,
        example.args,
        target=target,
        kwargs=example.kwargs,
        loaded=loaded,
        built=built,
    )
    return with_places(diagnose(recording, rules), defined_at(found))
