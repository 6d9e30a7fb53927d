# pyright: basic
"""How noisy the statistics of a setup's training batches are, and those of its running averages."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from normscope.errors import NormscopeError
from normscope.probes.answers.noise import Noise
from normscope.probes.clock import now
from normscope.probes.noise import BatchNoise
from normscope.probes.passes import affordable, common_size
from normscope.probes.setup import Prepared
from normscope.probes.untouched import untouched
from normscope.probes.visit import visit
from normscope.probing.questions import Progress

PASSES = 3  # a forward, and moments up to the fourth in float64


def ask(asked: Prepared, seconds: float, progress: Progress) -> Mapping[str, msgspec.Struct]:
    deadline = now() + seconds
    size = common_size(asked.train)
    alike = [b for b in asked.train if b.samples == size]
    if size < 2 or len(alike) < 2:
        raise NormscopeError("it needs two batches of one size, of two samples at least")
    listener = BatchNoise()
    with untouched(asked.model):
        batches = affordable(asked.model, alike, seconds, passes=PASSES)
        seen = 0
        for batch in batches:
            visit(asked.model, [batch], [listener], deadline)
            seen += 1
            progress(seen / len(batches))
            if seen > 1 and now() > deadline:
                break
        layers = listener.layers(asked.ids, asked.paths)
    if not layers:
        raise NormscopeError("no batch norm saw a channel that varies")
    answer = Noise(
        model=0,
        name=asked.name,
        batch=size,
        batches=seen,
        samples=seen * size,
        layers=tuple(layers),
    )
    return {"noise": answer}
