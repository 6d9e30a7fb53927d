# pyright: basic
"""Norm layers: which modules are one, where they hang in a model, and what is true of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeGuard

import torch
from torch import nn
from torch.nn.modules.batchnorm import SyncBatchNorm, _NormBase

from normscope.graph.model import NormKind
from normscope.graph.torch import contents
from normscope.record.recording import Layer

KINDS: tuple[tuple[type[nn.Module], NormKind], ...] = (
    (nn.modules.instancenorm._InstanceNorm, "instance"),  # before _NormBase, its parent
    (_NormBase, "batch"),
    (nn.GroupNorm, "group"),
    (nn.LayerNorm, "layer"),
    (nn.RMSNorm, "rms"),
)
# Wrappers that hold the user's model under one attribute: their name in paths tells nothing.
WRAPPED = ("module", "_orig_mod")


def kind_of(module: nn.Module) -> NormKind | None:
    return next((kind for cls, kind in KINDS if isinstance(module, cls)), None)


def norms_in(module: nn.Module) -> Iterator[tuple[str, nn.Module, bool]]:
    """Path, module, and whether `modules()` reaches it: layers in plain lists and dicts are found as well."""
    seen: set[int] = set()
    for path, child in contents.named_modules(module):
        if kind_of(child) is not None and id(child) not in seen:
            seen.add(id(child))
            yield clean_path(path), child, True
    for path, parent in contents.named_modules(module):
        for name, value in vars(parent).items():
            if name.startswith("_") and name != "_orig_mod":
                continue
            items = (
                value.items()
                if isinstance(value, dict)
                else enumerate(value)
                if isinstance(value, (list, tuple))
                else ()
            )
            for key, item in items:
                if isinstance(item, nn.Module):
                    for inner, norm in contents.named_modules(item):
                        if kind_of(norm) is not None and id(norm) not in seen:
                            seen.add(id(norm))
                            where = f"{path}.{name}[{key!r}].{inner}".strip(".")
                            yield clean_path(where), norm, False


def statistics_in(module: nn.Module) -> Iterator[tuple[str, nn.Module, tuple[str, ...]]]:
    """Path, module and names of tensors that may be running statistics which a layer of the user's own keeps.

    Two or more of one size beside the parameters, registered or not, each all 0 or all 1 as such averages begin. What
    they are, `probes.own_statistics` finds out at the end.
    """
    for path, child in contents.named_modules(module):
        if kind_of(child) is not None:
            continue
        held = {**vars(child), **child._buffers}
        sizes: dict[int, list[str]] = {}
        for name, value in held.items():
            if type(value) is torch.Tensor and _may_be_statistic(value):
                sizes.setdefault(value.numel(), []).append(name)
        for names in sizes.values():
            if len(names) > 1:
                yield path, child, tuple(names)


def _may_be_statistic(value: torch.Tensor) -> bool:
    if value.requires_grad or not value.is_floating_point() or value.is_meta or value.numel() < 2:
        return False
    low, high = float(value.min()), float(value.max())
    return low == high and low in (0.0, 1.0)


def clean_path(path: str) -> str:
    """A module path without the names of wrappers around the model."""
    parts = path.split(".")
    while parts and parts[0] in WRAPPED:
        parts.pop(0)
    return ".".join(parts)


def unwrapped(module: nn.Module) -> nn.Module:
    """The user's model inside what parallel training, compiling or averaging wrapped around it."""
    for name in WRAPPED:
        inner = module._modules.get(name)  # `getattr` may run code of the user's
        if isinstance(inner, nn.Module) and len(list(contents.children(module))) == 1:
            return unwrapped(inner)
    return module


def name_of(module: nn.Module) -> str:
    """The user's class name, also when the model is wrapped."""
    return type(unwrapped(module)).__name__


class Names(NamedTuple):
    """What a layer calls the tensors that it hands to batch norm; None for one that it does not hold."""

    mean: str | None = "running_mean"
    var: str | None = "running_var"
    scale: str | None = "weight"
    shift: str | None = "bias"


USUAL = Names()


def names_of(
    module: nn.Module, stored: tuple[torch.Tensor | None, torch.Tensor | None], scale: Any
) -> Names:
    """By what they are: a layer of the user's own may call its statistics as it likes, and `weight` what it convolves with."""
    held = {**vars(module), **module._parameters, **module._buffers}

    def name_of_one(tensor: Any) -> str | None:
        return None if tensor is None else next((n for n, v in held.items() if v is tensor), None)

    mean, var = stored
    return Names(name_of_one(mean), name_of_one(var), name_of_one(scale), None)


def holder_of(model: nn.Module, tensor: torch.Tensor) -> nn.Module | None:
    """The module inside `model` among whose parameters or buffers `tensor` is: a `ParameterDict`, say."""
    for module in contents.modules(model):
        if any(t is tensor for t in (*module._parameters.values(), *module._buffers.values())):
            return module
    return None


def statistics_of(
    module: nn.Module, names: Names = USUAL
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Running mean and variance as they are now."""
    mean, var = (None if n is None else _held(module, n) for n in (names.mean, names.var))
    return mean, var


def _held(module: nn.Module, name: str) -> torch.Tensor | None:
    for place in (module._buffers, vars(module), module._parameters):
        if name in place:
            value = place[name]
            break
    else:
        return None
    return value if isinstance(value, torch.Tensor) else None


def affine_of(module: nn.Module | None, names: Names = USUAL) -> list[torch.Tensor]:
    if module is None:
        return []
    found = [None if n is None else module._parameters.get(n) for n in (names.scale, names.shift)]
    return [
        p for p in found if p is not None and not isinstance(p, nn.parameter.UninitializedParameter)
    ]


def is_lazy(tensor: torch.Tensor) -> bool:
    """Whether a lazy module has not made this parameter or buffer yet."""
    return isinstance(
        tensor, (nn.parameter.UninitializedParameter, nn.parameter.UninitializedBuffer)
    )


def batches_tracked(module: nn.Module | None) -> int:
    counter = None if module is None else module._buffers.get("num_batches_tracked")
    return 0 if counter is None or counter.is_meta else int(counter)


def zero_share(gamma: torch.Tensor) -> float:
    known = gamma.numel() and not gamma.is_meta
    return float((gamma.detach() == 0).float().mean()) if known else 0.0


def is_fresh(mean: torch.Tensor, var: torch.Tensor) -> bool:
    return bool((mean == 0).all()) and bool((var == 1).all())


def eps_of(module: nn.Module) -> float:
    """The layer's eps. RMSNorm's default is that of the dtype that it computes in."""
    eps = getattr(module, "eps", None)
    if eps is not None:
        return float(eps)
    affine = affine_of(module)
    return float(torch.finfo(affine[0].dtype if affine else torch.float32).eps)


def _is_readable(tensor: torch.Tensor | None) -> TypeGuard[torch.Tensor]:
    """Whether there are values that can be read without asking other ranks."""
    plain = type(tensor) in (torch.Tensor, nn.Parameter)
    return tensor is not None and plain and not tensor.is_meta and tensor.numel() > 0


def describe_affine(record: Layer, module: nn.Module, names: Names) -> None:
    """Mean and spread of the scale γ over channels, and the root mean square of the shift β."""
    gamma, beta = (
        None if n is None else module._parameters.get(n) for n in (names.scale, names.shift)
    )
    with torch.no_grad():
        if _is_readable(gamma):
            sd, mean = torch.std_mean(gamma.float(), correction=0)
            record.gamma_mean_at_start, record.gamma_sd_at_start = float(mean), float(sd)
        if _is_readable(beta):
            record.beta_rms_at_start = float(beta.float().square().mean().sqrt())


def describe(record: Layer, module: nn.Module, names: Names = USUAL) -> None:
    affine = affine_of(module, names)
    mean, var = statistics_of(module, names)
    record.channels = int(
        getattr(module, "num_features", 0)
        or getattr(module, "num_channels", 0)
        or (affine[0].numel() if affine else 0)
    )
    record.eps = eps_of(module)
    record.momentum = getattr(module, "momentum", None)
    record.affine = bool(affine)
    record.tracks = mean is not None and var is not None
    record.synchronized = isinstance(module, SyncBatchNorm)
    if affine:
        record.zero_gamma_at_start = record.zero_gamma_at_end = zero_share(affine[0])
        describe_affine(record, module, names)
    if (
        mean is not None
        and var is not None
        and not isinstance(mean, nn.parameter.UninitializedBuffer)
    ):
        record.dtype = str(mean.dtype).removeprefix("torch.")
        if not mean.is_meta:
            record.fresh_at_start = record.fresh_at_end = is_fresh(mean, var)
