# pyright: basic
"""A PyTorch and a Keras model of one architecture, compared: does the port normalize as the original does?"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from normscope import catalogue
from normscope.checking import keras as of_keras
from normscope.checking import torch as of_torch
from normscope.checking.keras import is_model
from normscope.diagnosis import Diagnosis, diagnose
from normscope.errors import NormscopeError
from normscope.graph.keras.values import read
from normscope.probes.answers.port import Port, Side, Values
from normscope.record.keras import norms as keras_norms
from normscope.record.recording import PROBED, Layer, Recording


def compare_ports(torch_model: Any, keras_model: Any) -> Diagnosis:
    """What the norm layers of two models of one architecture have different: settings, and values where they were copied.

    Args:
        torch_model: a module of PyTorch.
        keras_model: a built model of Keras 3, on any backend.

    Both are left as they are. The diagnosis holds the findings of NS705. Raises NormscopeError for anything else.
    """
    for given, keras_expected in ((torch_model, False), (keras_model, True)):
        fits = (
            is_model(given)
            if keras_expected
            else isinstance(given, nn.Module) and not is_model(given)
        )
        if not fits:
            raise NormscopeError(
                f"compare_ports got a {type(given).__name__} as its {'second' if keras_expected else 'first'} model, but expected "
                "`compare_ports(torch_model, keras_model)`."
            )
    if not keras_model.built:
        raise NormscopeError(
            "compare_ports got a Keras model that is not built: call it once, so that it has values."
        )
    recording = Recording(target=type(torch_model).__name__, status=PROBED)
    known = of_torch.static_recording(torch_model, None, target="").models[0]
    recording.models[0] = known
    port = Port(0, known.name, tuple(_torch_sides(torch_model)), tuple(_keras_sides(keras_model)))
    recording.measurements["port"] = [port]
    return diagnose(recording, [catalogue.rule_of("NS705")])


def _side(layer: Layer, momentum: float | None, values: list[Values | None]) -> Side:
    scale, shift, mean, var = values
    return Side(
        layer.path, layer.kind, layer.channels, layer.eps, momentum, scale, shift, mean, var
    )


def _torch_sides(model: Any) -> list[Side]:
    def value(tensor: Any) -> Values | None:
        return None if tensor is None else tensor.detach().double().cpu().numpy().reshape(-1)

    return [
        _side(
            layer,
            layer.momentum if layer.tracks else None,
            [value(getattr(m, n, None)) for n in ("weight", "bias", "running_mean", "running_var")],
        )
        for layer, m in of_torch.layers_of(model)
    ]


def _keras_sides(model: Any) -> list[Side]:
    def value(variable: Any) -> Values | None:
        return (
            read(variable).astype(np.float64).reshape(-1) if hasattr(variable, "assign") else None
        )

    return [
        _side(
            layer := of_keras.layer_of(i, path, norm),
            layer.momentum,
            [
                value(keras_norms.scale_of(norm)),
                *(
                    value(getattr(norm, n, None))
                    for n in ("beta", "moving_mean", "moving_variance")
                ),
            ],
        )
        for i, (path, norm) in enumerate(keras_norms.norms_in(model))
    ]
