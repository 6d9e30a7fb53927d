# pyright: basic
"""The dependence of outputs on their batch mates in a setup, and whether an answer leaks through it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.errors import NormscopeError
from normscope.graph.torch import contents
from normscope.probes.answers.coupling import Coupling, Leak
from normscope.probes.clock import now
from normscope.probes.coupling import coupled
from normscope.probes.leak import PASSES, leak
from normscope.probes.mates import in_evaluation, in_training, mates, pairs_of, steps_of
from normscope.probes.passes import affordable, common_size
from normscope.probes.setup import Prepared
from normscope.probes.untouched import untouched
from normscope.probing.questions import Progress

SHARE = 0.4  # of the time, for the mates


def ask(asked: Prepared, seconds: float, progress: Progress) -> Mapping[str, msgspec.Struct]:
    model, began = asked.model, now()
    size = common_size(asked.train)
    with untouched(model):
        alike = [b for b in asked.train if b.samples == size]
        # Each pair is answered in two modes: whole, repeated, and once for each number of mates.
        passes = 2 + len(steps_of(size))
        some = affordable(model, alike, SHARE * seconds, passes=passes)
        pairs = pairs_of(some, size)
        if size < 2 or not pairs:
            raise NormscopeError("it needs two batches of one size, of two samples at least")
        evaluation = mates(model, pairs, in_evaluation)
        progress(0.2)
        training = mates(model, pairs, in_training)
        progress(SHARE)
        tied = coupled(model, pairs[0][0])
        left = max(seconds - (now() - began), 0.3 * seconds)
        found, note = _leak(asked, trained(model), left, progress)
    floors = [row.change.value for rows in (evaluation, training) for row in rows[:1]]
    answer = Coupling(
        model=0,
        name=asked.name,
        batch=size,
        pairs=len(pairs),
        floor=max(floors, default=0.0),
        evaluation=evaluation[1:],
        training=training[1:],
        coupled_layers=tuple(asked.paths[n] for n in tied if n in asked.paths),
        leak=found,
        note=note,
    )
    return {"coupling": answer}


def trained(model: nn.Module) -> list[_BatchNorm]:
    """The batch norms that the model's own `train()` puts into training mode: it may leave frozen ones alone."""
    model.train()
    return [m for m in contents.modules(model) if isinstance(m, _BatchNorm) and m.training]


def _leak(
    asked: Prepared, norms: list[_BatchNorm], seconds: float, progress: Progress
) -> tuple[Leak | None, str]:
    if not norms:
        return None, "Training uses no batch statistics, so that nothing can leak through them."
    try:
        batches = affordable(asked.model, asked.train, seconds, passes=PASSES, least=4)
        return leak(
            asked.model, batches, norms, lambda done: progress(SHARE + (1 - SHARE) * done)
        ), ""
    except NormscopeError as reason:
        return None, f"Whether an answer leaks was not tested: {reason}."
