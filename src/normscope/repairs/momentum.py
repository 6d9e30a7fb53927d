# pyright: basic
"""Set the momentum of batch norms, or keep its window when the batch changes."""

from __future__ import annotations

from torch import nn

from normscope.errors import NormscopeError
from normscope.probes.replay import batch_norms
from normscope.repairs.certificate import Certificate, LeftAlone
from normscope.repairs.repaired import copied, counted
from normscope.statistics import averaged_batches, momentum_for_batch, updates_to_forget


def set_momentum(
    model: nn.Module, momentum: float | None = None, *, batch_factor: float | None = None
) -> tuple[nn.Module, Certificate]:
    """Give every batch norm a momentum (PyTorch's sense: the weight of the new batch); outputs stay as they are.

    Args:
        momentum: the new one, above 0 and at most 1.
        batch_factor: instead, how many times larger the batch becomes: 1 − (1 − α)^k keeps the window in samples
            (Busbridge et al. 2023, arXiv 2307.13813). For m micro-batches a step give 1/m.

    Raises NormscopeError unless exactly one of them is given, and for values out of range.
    """
    if (momentum is None) == (batch_factor is None):
        raise NormscopeError("Give either the new momentum or `batch_factor`, and not both.")
    if momentum is not None and not 0 < momentum <= 1:
        raise NormscopeError(f"A momentum above 0 and at most 1 was expected; got {momentum:g}.")
    if batch_factor is not None and not batch_factor > 0:
        raise NormscopeError(f"A batch factor above 0 was expected; got {batch_factor:g}.")
    repaired = copied(model)
    names = {m: path for path, m in repaired.named_modules()}
    left: list[LeftAlone] = []
    told: dict[str, None] = {}
    changed = 0
    for norm in batch_norms(repaired):
        old = norm.momentum
        if batch_factor is not None and (old is None or not 0 < old < 1):
            left.append(
                LeftAlone(path=names[norm], reason=f"its momentum {old} has no window to keep")
            )
            continue
        new = momentum if batch_factor is None else momentum_for_batch(old or 0.0, batch_factor)
        assert new is not None
        norm.momentum = new
        changed += 1
        told[
            f"{old} → {new:.4g}: worth {averaged_batches(new):.3g} batches, forgets its start in {updates_to_forget(new)} updates"
        ] = None
    certificate = Certificate(
        repair="set-momentum",
        kind="exact",
        model=type(model).__name__,
        done=f"set the momentum of {changed} batch norms ({'; '.join(told) or 'none'})",
        left=tuple(left),
        parameters=counted(model, repaired),
        cost="as before",
        checkpoints="as before: momentum is not in a state dict",
    )
    return repaired, certificate
