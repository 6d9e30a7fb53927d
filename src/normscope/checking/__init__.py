"""Static answers: what the code of a model alone says, without training and without data."""

from __future__ import annotations

import sys
from collections import ChainMap
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from normscope.checking.inputs import InputSpec
from normscope.checking.places import defined_at, with_places
from normscope.checking.target import find, made_by, names_keras, user_code
from normscope.diagnosis import Diagnosis, diagnose
from normscope.graph.model import Site
from normscope.record.recording import Recording
from normscope.rule import Rule

__all__ = ["check", "check_target", "compare_ports"]


def check(
    model: Any, *inputs: Any, rules: Sequence[Rule] | None = None, **kwargs: Any
) -> Diagnosis:
    """Judge a model by its code: its norm layers and, where inputs are given, its graph in both modes.

    Args:
        model: of PyTorch or Keras; left as it is: modes, parameters, buffers and random states.
        inputs: what the model is called with; without any only settings and buffers are judged. A Keras model that knows its
            inputs needs none.
        rules: default: all that are on by default.
        kwargs: passed on to the model as well.

    Raises NormscopeError when the model's forward pass raises.
    """
    given = inputs if inputs or kwargs else None
    if _of_keras(model):
        from normscope.checking import keras as framework
    else:
        from normscope.checking import torch as framework
    return diagnose(
        framework.static_recording(model, given, target=type(model).__name__, kwargs=kwargs), rules
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
    with ExitStack() as stack:
        built: Mapping[Any, Site]
        if names_keras(target):  # which it may set up before it imports it
            # A model of PyTorch may stand beside Keras, too.
            modules: Mapping[Any, Site] = {}
            if "torch" in sys.modules:
                modules = stack.enter_context(_torch_origins())
            found = find(target)
            layers = stack.enter_context(_keras_origins())
            built = ChainMap[Any, Site]({}, cast("Any", layers), cast("Any", modules))
        else:
            built = stack.enter_context(_torch_origins())
            found = find(target)
        made = made_by(found, target)
    if _of_keras(made):
        from normscope.checking import keras

        example = keras.example_of(made, target)
        if specs:
            inputs = keras.inputs_from(specs, example.model)
            example = replace(example, args=inputs, kwargs={})
        loaded = None
        if weights is not None:
            keras.build(example.model, example.args)
            loaded = keras.load_into(example.model, weights)
        recording = keras.static_recording(
            example.model,
            example.args,
            target=target,
            kwargs=example.kwargs,
            loaded=loaded,
            built=built,
        )
    else:
        recording = _of_torch(made, specs, weights, target, built)
    return with_places(diagnose(recording, rules), defined_at(found))


def _of_torch(
    made: Any,
    specs: Sequence[InputSpec],
    weights: Path | None,
    target: str,
    built: Mapping[Any, Site],
) -> Recording:
    with user_code("importing PyTorch"):
        from normscope.checking.torch import example_of, static_recording, tensors_from
    example = example_of(made, target)
    if specs:
        example = replace(example, args=tensors_from(specs), kwargs={})
    loaded = None
    if weights is not None:
        from normscope.checking.weights import load_into

        loaded = load_into(example.model, weights)
    return static_recording(
        example.model,
        example.args,
        target=target,
        kwargs=example.kwargs,
        loaded=loaded,
        built=built,
    )


def _of_keras(made: Any) -> bool:
    """Whether it is Keras' own, without importing Keras for it."""
    if "keras" not in sys.modules:
        return False
    from normscope.checking.keras import is_model

    return is_model(made)


def _keras_origins() -> AbstractContextManager[Mapping[Any, Site]]:
    """Where layers of Keras are built from now on."""
    with user_code("importing Keras"):
        from normscope.checking.keras import origins
    return origins()


def _torch_origins() -> AbstractContextManager[Mapping[Any, Site]]:
    """Where modules of PyTorch are built from now on."""
    with user_code("importing PyTorch"):
        from normscope.checking.origins import origins
    return origins()


def compare_ports(torch_model: Any, keras_model: Any) -> Diagnosis:
    """Compare the norm layers of a PyTorch model and a Keras model of the same architecture (see `normscope.checking.ports`).

    Raises NormscopeError for anything but a built Keras model and a PyTorch model with as many norm layers. Imports both frameworks.
    """
    from normscope.checking.ports import compare_ports as compared

    return compared(torch_model, keras_model)
