# pyright: basic
"""`recalibrate` under the signatures that people know: change the import, and nothing else."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.errors import NormscopeError
from normscope.probes.setup import Loader
from normscope.repairs.certificate import Certificate
from normscope.repairs.recalibration.choosing import user_model
from normscope.repairs.recalibration.recalibrating import recalibrate


def update_bn(
    loader: Loader, model: nn.Module, device: int | str | torch.device | None = None
) -> None:
    """As `torch.optim.swa_utils.update_bn`: over the whole loader.

    Unlike it: dropout stays off, frozen layers stay frozen, batches count by their values, modes come back.
    """
    if isinstance(device, int):
        device = torch.device("cuda", device)
    recalibrate(model, loader, samples=None, device=device, compare=False)


def update_bn_stats(
    model: nn.Module, data_loader: Loader, num_iters: int = 200, progress: str | None = None
) -> Certificate | None:
    """As fvcore's `update_bn_stats`: `num_iters` batches, the layers in train mode; nothing where there are none.

    Unlike it: a shorter loader is used as far as it goes, and momenta come back whatever happens; layers may be called
    several times, and ranks pool what they see. `progress="tqdm"` counts samples on a terminal's standard error.
    """
    if progress not in (None, "tqdm"):
        raise NormscopeError(f"`progress={progress!r}` was given, but None or 'tqdm' was expected.")
    norms = [m for m in user_model(model).modules() if isinstance(m, _BatchNorm) and m.training]
    if not norms:
        return None
    limits: dict[str, Any] = {"samples": None, "batches": num_iters, "layers": norms}
    if progress is None:
        return recalibrate(model, data_loader, **limits)
    from normscope.repairs.progress import counting

    with counting("recalibrate") as count:
        return recalibrate(model, data_loader, progress=count, **limits)
