# pyright: basic
"""What a batch norm of a Keras model cancels or repeats goes into its neighbour: biases before it, and itself, for inference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from normscope.errors import NormscopeError
from normscope.record.keras.batches import Kept
from normscope.record.keras.norms import norms_in
from normscope.repairs.certificate import Certificate, LeftAlone
from normscope.repairs.keras.certifying import checked, differences
from normscope.repairs.keras.neighbours import Pair, pairs, value
from normscope.repairs.keras.rebuilding import rebuilt, twins


def fold_redundant_bias(model: Any, batch: Kept | None = None) -> tuple[Any, Certificate]:
    """A copy without the biases that a batch norm behind them cancels; exact in both modes.

    BN(Wx + b) with moving mean μ is BN(Wx) with μ − b, in training because the batch mean holds b as well (Ioffe & Szegedy 2015,
    section 3.2). Raises NormscopeError when there is none, when the model cannot be built again, and when outputs would move.
    """
    found = list(pairs(model, batch))
    chosen = [p for p in found if isinstance(p, Pair) and p.affine.use_bias]
    if not chosen:
        raise NormscopeError(
            "fold-redundant-bias found no bias that a batch norm right after it cancels."
        )
    copy = rebuilt(model, {id(p.affine): _without_bias(p.affine) for p in chosen}, batch)
    there = {id(here): twin for here, twin in twins(model, copy)}
    for p in chosen:
        mean = there[id(p.norm)].moving_mean
        mean.assign((value(p.norm.moving_mean) - value(p.affine.bias)).astype(np.float32))
    apart = differences(model, copy, batch)
    checked(apart, "eval", "train")
    removed = sum(int(np.prod(p.affine.bias.shape)) for p in chosen)
    return copy, Certificate(
        repair="fold-redundant-bias",
        kind="exact",
        model=type(model).__name__,
        done=f"removed {len(chosen)} biases ({removed} parameters) that a batch norm cancels",
        left=tuple(p for p in found if isinstance(p, LeftAlone)),
        differences=apart,
        checkpoints="the bias goes, and is subtracted from the norm's moving mean",
        warnings=("compile the copy before it is trained",),
    )


def fold_batchnorm(model: Any, batch: Kept | None = None) -> tuple[Any, Certificate]:
    """A copy in which batch norms are part of the layer before them: exact in inference, and no longer batch norm in training.

    With γ' = γ/√(σ² + ε): kernel γ'W, bias γ'(b − μ) + β (Jacob et al. 2018, section 3.2). Norms that do not stand right behind a
    Dense or convolution layer stay. Raises NormscopeError when there is no such pair, and as `fold_redundant_bias` does.
    """
    return _folded(
        model, batch, "fold-batchnorm", "exact", "train no more with it: its norms are gone"
    )


def remove_batchnorm(model: Any, batch: Kept | None = None) -> tuple[Any, Certificate]:
    """The same to go on training without batch norm: it computes what inference computed, from the first step on."""
    return _folded(
        model,
        batch,
        "remove-batchnorm",
        "changes-function",
        "compile the copy, and train it with a lower learning rate: nothing sets the scale of activations any more",
    )


def _folded(
    model: Any, batch: Kept | None, name: str, kind: Any, advice: str
) -> tuple[Any, Certificate]:
    found = list(pairs(model, batch))
    chosen = [p for p in found if isinstance(p, Pair)]
    if not chosen:
        raise NormscopeError(
            f"{name} found no batch norm right behind a Dense or convolution layer that it alone reads."
        )
    exchange: dict[int, Callable[[], Any]] = {}
    for p in chosen:
        exchange[id(p.affine)] = _with_bias(p.affine)
        exchange[id(p.norm)] = _identity(p.norm)
    copy = rebuilt(model, exchange, batch)
    there = {id(here): twin for here, twin in twins(model, copy)}
    for p in chosen:
        kernel, bias = _values(p)
        there[id(p.affine)].kernel.assign(kernel.astype(np.float32))
        there[id(p.affine)].bias.assign(bias.astype(np.float32))
    apart = differences(model, copy, batch)
    checked(apart, "eval")
    folded = {p.norm_path for p in chosen}
    stay = [
        LeftAlone(
            path=path, reason="no Dense or convolution layer that it alone reads stands before it"
        )
        for path, layer in _norms(model)
        if path not in folded
    ]
    return copy, Certificate(
        repair=name,
        kind=kind,
        model=type(model).__name__,
        done=f"{len(chosen)} batch norms are part of the layers before them; what inference computes is the same",
        left=(*(p for p in found if isinstance(p, LeftAlone)), *stay),
        differences=apart,
        checkpoints="variables of these norms are gone, and their layers have other kernels and biases",
        warnings=(advice,),
    )


def _values(p: Pair) -> tuple[Any, Any]:
    """Kernel and bias of the map and the norm together; float64."""
    norm, affine = p.norm, p.affine
    scale = 1 / np.sqrt(value(norm.moving_variance) + norm.epsilon)
    if norm.gamma is not None:
        scale = scale * value(norm.gamma)
    bias = value(affine.bias) if affine.use_bias else 0.0
    shift = (bias - value(norm.moving_mean)) * scale
    if norm.beta is not None:
        shift = shift + value(norm.beta)
    return p.scaled(value(affine.kernel), scale), shift


def _norms(model: Any) -> list[tuple[str, Any]]:
    return [(p, n) for p, n in norms_in(model) if isinstance(n, keras.layers.BatchNormalization)]


def _without_bias(layer: Any) -> Callable[[], Any]:
    changed = {"use_bias": False, "bias_regularizer": None, "bias_constraint": None}
    return lambda: layer.__class__.from_config({**layer.get_config(), **changed})


def _with_bias(layer: Any) -> Callable[[], Any]:
    return lambda: layer.__class__.from_config({**layer.get_config(), "use_bias": True})


def _identity(layer: Any) -> Callable[[], Any]:
    # `Identity` cannot be saved with a policy of types.
    return lambda: keras.layers.Activation("linear", name=layer.name, dtype=layer.dtype_policy)
