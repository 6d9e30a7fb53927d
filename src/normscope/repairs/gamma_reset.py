# pyright: basic
"""Give norms the scale 1 that they are built with."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from normscope.errors import NormscopeError, did_you_mean
from normscope.probes.replay import batch_norms
from normscope.record.torch.norms import is_fresh, norms_in
from normscope.repairs.certificate import Certificate
from normscope.repairs.repaired import copied, counted, differences

TRAINED = (
    "the model is trained, and what its scales had learned is gone: train it on before it is used"
)


def reset_gamma(
    model: nn.Module, *inputs: Any, layers: tuple[str, ...] = (), **kwargs: Any
) -> tuple[nn.Module, Certificate]:
    """Set the scale of norm layers to 1; their shift stays. It changes the function: for models that are yet to be trained.

    Args:
        layers: paths or prefixes of paths; by default every norm whose scale is not 1 everywhere.

    Raises NormscopeError when a name matches no norm layer that has a scale.
    """
    repaired = copied(model)
    scaled = {
        path: module
        for path, module, _ in norms_in(repaired)
        if isinstance(getattr(module, "weight", None), nn.Parameter)
    }
    for name in layers:
        if not any(_under(path, name) for path in scaled):
            raise NormscopeError(
                f"No norm layer with a scale is named `{name}`.{did_you_mean(name, scaled)}"
            )
    reset: list[str] = []
    with torch.no_grad():
        for path in scaled:
            if layers and not any(_under(path, name) for name in layers):
                continue
            weight = scaled[path].weight
            assert isinstance(weight, torch.Tensor)
            if not bool((weight == 1).all()):
                weight.fill_(1.0)
                reset.append(path)
    certificate = Certificate(
        repair="reset-gamma",
        kind="changes-function",
        model=type(model).__name__,
        done=f"set the scale of {len(reset)} norm layers to 1"
        + (f" ({', '.join(reset[:5])}{', …' if len(reset) > 5 else ''})" if reset else ""),
        differences=differences(model, repaired, inputs, kwargs),
        parameters=counted(model, repaired),
        cost="as before",
        checkpoints="as before",
        warnings=(TRAINED,) if reset and _trained(repaired) else (),
    )
    return repaired, certificate


def _trained(model: nn.Module) -> bool:
    """Whether some running statistics are of data."""
    return any(
        not is_fresh(n.running_mean, n.running_var)  # pyright: ignore[reportArgumentType]
        for n in batch_norms(model)
    )


def _under(path: str, name: str) -> bool:
    return path == name or path.startswith(f"{name}.")
