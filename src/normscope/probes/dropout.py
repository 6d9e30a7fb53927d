# pyright: basic
"""What dropout does to the input variance of batch norms: the same batches, weights and statistics, dropout on and off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.probes.clock import now
from normscope.probes.observations import DropoutShift
from normscope.probes.population import Moments
from normscope.probes.visit import Calls, visit
from normscope.record.torch.batches import Kept

DROPOUTS = {
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "alpha_dropout",
    "feature_dropout",
    "feature_alpha_dropout",
}


class Switch:
    """A handle for `visit.Calls` that turns every dropout on, and knows whether there was one."""

    def __init__(self) -> None:
        self.met = False

    def call(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if name not in DROPOUTS:
            return func(*args, **kwargs)
        self.met = True
        if "training" in kwargs or len(args) < 3:
            flag = "train" if "train" in kwargs else "training"
            return func(*args, **(kwargs | {flag: True}))
        return func(*args[:2], True, *args[3:], **kwargs)


class Variances:
    """A listener of `visit` that pools the moments of every norm's input."""

    def __init__(self) -> None:
        self.moments: dict[_BatchNorm, Moments] = {}

    def __call__(self, _: Kept, norm: _BatchNorm, x: torch.Tensor, __: torch.Tensor) -> None:
        here = Moments.of(x)
        before = self.moments.get(norm)
        self.moments[norm] = here if before is None else before + here


def shifts(
    model: nn.Module,
    batches: Sequence[Kept],
    ids: Mapping[_BatchNorm, int],
    paths: Mapping[_BatchNorm, str],
    deadline: float,
) -> tuple[DropoutShift, ...] | None:
    """One row a norm; None when no dropout was called. To be called inside `untouched`."""
    switch, on, off = Switch(), Variances(), Variances()
    with Calls(switch.call):
        visit(model, batches[:1], [], deadline)
        if not switch.met:
            return None
        half = now() + 0.5 * (deadline - now())
        on.moments.clear()
        seen = visit(model, batches, [on], half)
    visit(model, seen, [off], float("inf"))  # the same ones, as fast as with dropout
    return tuple(
        shift_of(ids[norm], paths[norm], moments, on.moments[norm], norm.running_var)
        for norm, moments in off.moments.items()
        if norm in ids and norm in on.moments and norm.running_var is not None
    )


def shift_of(
    number: int, path: str, off: Moments, on: Moments, running_var: torch.Tensor
) -> DropoutShift:
    """From the moments of one norm's input without dropout and with it."""
    return DropoutShift(number, path, _ratio(off.var, on.var), _ratio(off.var, running_var))


def _ratio(x: torch.Tensor, y: torch.Tensor) -> float:
    """Median over channels; constant channels have no say."""
    x, y = x.double().cpu(), y.double().cpu()
    known = (x > 1e-12) & (y > 1e-12)
    return float((x[known] / y[known]).median()) if bool(known.any()) else 1.0
