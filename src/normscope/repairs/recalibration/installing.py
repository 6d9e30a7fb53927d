# pyright: basic
"""Writing new statistics into a model: all of them, or none."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.errors import NormscopeError
from normscope.probes.attribution import restore, stored
from normscope.probes.population import install, means_and_variances
from normscope.repairs.recalibration.estimating import Estimate


def put(norms: Mapping[str, _BatchNorm], found: Estimate) -> None:
    """Install means, unbiased variances and numbers of calls.

    Raises NormscopeError, with nothing written, for a value that a buffer's precision cannot hold.
    """
    chosen = {norms[path]: moments for path, moments in found.moments.items()}
    every = torch.cat(means_and_variances([*chosen.values()]))
    narrowest = min(torch.finfo(n.running_mean.dtype).max for n in chosen)  # pyright: ignore[reportOptionalMemberAccess]
    if not float(every.abs().max()) <= narrowest:
        _refuse_too_large(norms, found)
    before = stored([*chosen])
    counters = [(norms[p].num_batches_tracked, calls) for p, calls in found.calls.items()]
    counts = [None if c is None else c.clone() for c, _ in counters]
    with torch.no_grad():
        try:
            install(chosen)
            for counter, calls in counters:
                if counter is not None:
                    counter.fill_(calls)
        except BaseException:
            restore(before)
            for (counter, _), count in zip(counters, counts, strict=True):
                if counter is not None and count is not None:
                    counter.copy_(count)
            raise


def _refuse_too_large(norms: Mapping[str, _BatchNorm], found: Estimate) -> None:
    for path, moments in found.moments.items():
        mean = norms[path].running_mean
        assert mean is not None
        top = torch.finfo(mean.dtype).max
        for what, values in (("mean", moments.mean), ("variance", moments.var)):
            largest = float(values.abs().max())
            if not largest <= top:
                raise NormscopeError(
                    f"The {what} {largest:.3g} of `{path}` does not fit its {str(mean.dtype).removeprefix('torch.')} buffer, "
                    f"which ends at {top:.3g}. Keep norms in float32; the model is as it was before."
                )
