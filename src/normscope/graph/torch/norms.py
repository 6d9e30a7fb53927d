"""Reading normalizations: batch, instance, group, layer and RMS norm, on every backend."""
# pyright: basic

from __future__ import annotations

import math
from typing import Any

import torch

from normscope.graph.model import Norm, Opaque
from normscope.graph.torch.operation import Operation, Typed, shape_of

BATCH = (
    "batch_norm",
    "native_batch_norm",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_functional",
    "_native_batch_norm_legit_no_training",
    "_batch_norm_impl_index",
    "_batch_norm_with_update",
    "_batch_norm_no_update",
    "cudnn_batch_norm",
    "miopen_batch_norm",
)


def batch_norm(op: Operation) -> Typed:
    x: torch.Tensor = op["input"]
    channels = shape_of(x)[1]
    training = op.first("training", "train")
    if training is None:  # the names without a flag say it themselves
        training = op.name == "_batch_norm_with_update"
    # "Fixed" statistics that were computed from data are the batch's; what else was made of them goes with them.
    taken = [d.id for d in map(op.value, (op["running_mean"], op["running_var"])) if d]
    if taken:
        training = True
        taken += [d.id for d in map(op.value, (op["weight"], op["bias"])) if d]
    kept = getattr(op.module, "running_mean", None) if taken else op["running_mean"]
    return Typed(
        Norm(
            "batch",
            channels=channels,
            eps=float(op.first("eps", "epsilon")),
            momentum=_momentum(op),
            batch_stats=bool(training),
            tracks=kept is not None,
            affine=op["weight"] is not None,
            zero_gamma=zero_share(op["weight"]),
            values=_numel(x) // channels if training and channels else None,
        ),
        (x,) if taken else (x, op["weight"], op["bias"]),
        {"instance": op.instance_norm, "helpers": taken},
    )


def _momentum(op: Operation) -> float | None:
    """None for a cumulative average, which reaches the operation as 1 / (number of batches)."""
    buffer = op["running_mean"]
    owned = buffer is not None and getattr(op.module, "running_mean", None) is buffer
    if owned and getattr(op.module, "momentum", 0.0) is None:
        return None
    if op.value(buffer) is not None:
        return getattr(op.module, "momentum", None)  # the module keeps the average itself
    return op.first("momentum", "exponential_average_factor")


def synchronized_statistics(op: Operation) -> Typed:
    """SyncBatchNorm's second part: it knows the momentum and the number of ranks."""
    facts = {
        "momentum": op["momentum"],
        "tracks": op["running_mean"] is not None,
        "ranks": shape_of(op["mean"])[0],
    }
    return Typed(Opaque(op.name), (op["input"], op["mean"], op["invstd"]), facts)


def synchronized_norm(op: Operation) -> Typed:
    """SyncBatchNorm's last part. Ranks are taken to have batches of equal size."""
    x: torch.Tensor = op["input"]
    statistics = op.value(op["mean"])
    known = statistics.facts if statistics else {}
    channels = shape_of(x)[1]
    return Typed(
        Norm(
            "batch",
            channels=channels,
            eps=float(op.first("eps") or 1e-5),
            momentum=known.get("momentum", 0.1),
            tracks=known.get("tracks", True),
            affine=op["weight"] is not None,
            zero_gamma=zero_share(op["weight"]),
            values=_numel(x) // channels * known.get("ranks", 1) if channels else None,
        ),
        (x, op["weight"], op["bias"]),
        {"helpers": [d.id for d in map(op.value, (op["mean"], op["invstd"])) if d]},
    )


def instance_norm(op: Operation) -> Typed:
    x: torch.Tensor = op["input"]
    return Typed(
        Norm(
            "instance",
            channels=shape_of(x)[1],
            eps=op["eps"],
            momentum=op["momentum"],
            batch_stats=bool(op["use_input_stats"]),
            tracks=op["running_mean"] is not None,
            affine=op["weight"] is not None,
            zero_gamma=zero_share(op["weight"]),
            values=math.prod(shape_of(x)[2:]) if op["use_input_stats"] else None,
        ),
        (x, op["weight"], op["bias"]),
    )


def group_norm(op: Operation) -> Typed:
    x: torch.Tensor = op["input"]
    shape = shape_of(x)
    groups = int(op.first("num_groups", "group"))
    return Typed(
        Norm(
            "group",
            channels=shape[1],
            groups=groups,
            values=math.prod(shape[1:]) // groups,
            **_stateless(op["eps"], op["weight"]),
        ),
        (x, op["weight"], op["bias"]),
    )


def layer_norm(op: Operation) -> Typed:
    x: torch.Tensor = op["input"]
    over = math.prod(int(n) for n in op["normalized_shape"])
    eps = op["eps"] if op["eps"] is not None else torch.finfo(x.dtype).eps
    return Typed(
        Norm(
            "rms" if "rms" in op.name else "layer",
            channels=over,
            axis=x.ndim - len(op["normalized_shape"]),
            values=over,
            **_stateless(eps, op["weight"]),
        ),
        (x, op["weight"], op["bias"]),
    )


def _stateless(eps: float, weight: torch.Tensor | None) -> dict[str, Any]:
    return {
        "eps": float(eps),
        "momentum": None,
        "tracks": False,
        "affine": weight is not None,
        "zero_gamma": zero_share(weight),
    }


def zero_share(weight: torch.Tensor | None) -> float:
    """Share of scales that are exactly 0; 0.0 where values cannot be read (meta tensors, CUDA graph capture)."""
    if weight is None or weight.numel() == 0 or weight.is_meta:
        return 0.0
    if weight.is_cuda and torch.cuda.is_current_stream_capturing():
        return 0.0
    with torch.no_grad():
        zeros = weight.numel() - int(torch.count_nonzero(weight))
    return zeros / weight.numel()


def _numel(x: torch.Tensor) -> int:
    return math.prod(shape_of(x))


READERS = {
    **dict.fromkeys(BATCH, batch_norm),
    "batch_norm_gather_stats": synchronized_statistics,
    "batch_norm_gather_stats_with_counts": synchronized_statistics,
    "batch_norm_elemt": synchronized_norm,
    "instance_norm": instance_norm,
    "native_group_norm": group_norm,
    "group_norm": group_norm,
    "native_layer_norm": layer_norm,
    "layer_norm": layer_norm,
    "rms_norm": layer_norm,
    "_fused_rms_norm": layer_norm,
}
