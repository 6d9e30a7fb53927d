# pyright: basic
"""Which batch norms a repair may touch, and why it leaves the others alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy
from torch.optim.swa_utils import AveragedModel

from normscope.errors import NormscopeError, did_you_mean
from normscope.probes.replay import bare
from normscope.repairs.certificate import LeftAlone

Names = Iterable[str | nn.Module]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Batch norms by their path below the model, and those left alone."""

    norms: dict[str, _BatchNorm]
    left: tuple[LeftAlone, ...]


def user_model(model: nn.Module) -> nn.Module:
    """The user's model without what parallel training, compiling or averaging wrapped around it."""
    inner = bare(model)
    return user_model(inner.module) if isinstance(inner, AveragedModel) else inner


def choose(model: nn.Module, layers: Names | None, frozen: Names) -> Chosen:
    """The batch norms whose running statistics are to be recomputed.

    A layer in eval mode inside a model in train mode was frozen by the user and stays as it is, unless `layers` names it; so does
    one that has buffers and does not track.
    Raises NormscopeError without any, for names that are none of the model's, and for a model that never ran.
    """
    _refuse_unmade(model)
    known = {p: m for p, m in model.named_modules() if isinstance(m, _BatchNorm)}
    if not known:
        raise NormscopeError(
            f"`{type(model).__name__}` has no batch norm module whose statistics could be recomputed "
            "(layers inside scripted or exported models are out of reach)."
        )
    wanted = None if layers is None else _named(known, layers, "layers")
    held = _named(known, frozen, "frozen")
    norms: dict[str, _BatchNorm] = {}
    left: list[LeftAlone] = []
    for path, norm in known.items():
        by_name = wanted is not None and path in wanted
        reason = (
            "no running statistics (track_running_stats=False)"
            if norm.running_mean is None or norm.running_var is None
            else "frozen by `frozen`"
            if path in held
            else "not among `layers`"
            if wanted is not None and not by_name
            else "frozen: track_running_stats was set to False"
            if not norm.track_running_stats and not by_name
            else "frozen: in eval mode while the model trains"
            if model.training and not norm.training and not by_name
            else ""
        )
        if reason:
            left.append(LeftAlone(path=path, reason=reason))
        else:
            norms[path] = norm
    if not norms:
        why = "; ".join(sorted({x.reason for x in left}))
        raise NormscopeError(
            f"No batch norm of `{type(model).__name__}` is left to recompute: {why}. "
            "Name those that are meant, `layers=['layer4']`, or call `model.eval()` first if none was frozen on purpose."
        )
    return Chosen(norms, tuple(left))


def _refuse_unmade(model: nn.Module) -> None:
    held = (m for module in model.modules() for m in (module._parameters, module._buffers))
    tensors = [t for by_name in held for t in by_name.values() if t is not None]
    if any(is_lazy(t) for t in tensors):
        raise NormscopeError(
            "The model has lazy layers that never ran, so there is nothing to recalibrate. Call it on a batch first."
        )
    if any(t.is_meta for t in tensors):
        raise NormscopeError(
            "The model has tensors on the meta device, which hold no values. Load its weights first."
        )


def _named(known: dict[str, _BatchNorm], names: Names, option: str) -> set[str]:
    """Paths of the batch norms that the names, prefixes of paths or modules mean."""
    if isinstance(names, (str, nn.Module)):
        names = [names]
    found: set[str] = set()
    for name in names:
        if isinstance(name, nn.Module):
            inside = {id(m) for m in name.modules()}
            hit = {p for p, m in known.items() if id(m) in inside}
        else:
            hit = {p for p in known if not name or p == name or p.startswith(f"{name}.")}
        if not hit:
            given = f"`{name}`" if isinstance(name, str) else f"a {type(name).__name__}"
            near = did_you_mean(name, _prefixes(known)) if isinstance(name, str) else ""
            raise NormscopeError(
                f"`{option}` names {given}, which holds no batch norm of the model.{near} "
                f"Known: {', '.join(list(known)[:8])}{', …' if len(known) > 8 else ''}."
            )
        found |= hit
    return found


def _prefixes(paths: Iterable[str]) -> list[str]:
    parts = [p.split(".") for p in paths]
    return sorted({".".join(p[: i + 1]) for p in parts for i in range(len(p))})


def is_half(norm: _BatchNorm) -> bool:
    """Whether its buffers are too short to hold a batch's statistics without loss."""
    return norm.running_mean is not None and norm.running_mean.dtype in (
        torch.float16,
        torch.bfloat16,
    )
