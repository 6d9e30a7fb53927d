# pyright: basic
"""Passes of batches through a model, and how many of them there is time for. To be called inside `untouched`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from typing import TypeVar

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.probes.clock import now
from normscope.probes.granted import refuse_beyond
from normscope.probes.judgement import Judged, judge
from normscope.probes.replay import replay, respond, set_mode
from normscope.record.torch.batches import Kept

AnyBatch = TypeVar("AnyBatch", bound=Kept)


def judged(
    model: nn.Module, batches: Sequence[Kept], batch_stats: Collection[_BatchNorm] = ()
) -> list[Judged]:
    """Each batch judged in evaluation mode, the given norms with the batch's own statistics."""
    set_mode(model, batch_stats)
    return [judge(b, respond(model, b)) for b in batches]


def affordable(
    model: nn.Module,
    batches: Sequence[AnyBatch],
    seconds: float,
    *,
    passes: float,
    least: int = 2,
) -> list[AnyBatch]:
    """As many batches as `passes` of each may take `seconds`, `least` at the least, spread evenly over all.

    Raises NormscopeError when those would take more than three times as long.
    """
    once = math.inf
    for _ in range(2):  # the first forward may allocate and choose kernels
        began = now()
        set_mode(model)
        replay(model, batches[0])
        once = min(once, now() - began)
    once *= passes
    refuse_beyond(least * once, seconds)
    return spread(batches, max(least, int(seconds / max(once, 1e-9))))


def spread(batches: Sequence[AnyBatch], most: int) -> list[AnyBatch]:
    """At most `most` of them, evenly, with the first and the last."""
    if len(batches) <= most:
        return list(batches)
    if most == 1:
        return [batches[-1]]
    return [batches[round(i * (len(batches) - 1) / (most - 1))] for i in range(most)]


def common_size(batches: Sequence[Kept]) -> int:
    """The commonest number of samples in a batch."""
    return Counter(b.samples for b in batches).most_common(1)[0][0]
