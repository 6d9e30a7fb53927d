# pyright: basic
"""The gap of a model that keeps running statistics by itself: the same three answers as `probes.gap`, told from outside.

Batch values come from how far one training forward moves each average. B uses the mean of those values, to which an average that
forgets slowly converges.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.errors import NormscopeError
from normscope.graph.torch import contents
from normscope.probes.clock import now
from normscope.probes.comparison import Judgements, compare, half_of
from normscope.probes.judgement import Judged, judge
from normscope.probes.own_statistics import Holder, Model, Values, lent
from normscope.probes.replay import bare
from normscope.probes.results import Gap
from normscope.probes.untouched import untouched
from normscope.record.torch.batches import Kept

PASSES = 5  # forwards for each batch: A, C, B twice, and half of that for autograd in A
FEWEST = 8  # batches


def measure(
    module: nn.Module,
    batches: Sequence[Kept],
    holders: Sequence[Holder],
    norms: Sequence[_BatchNorm],
    *,
    model_id: int,
    name: str,
    seconds: float,
) -> Gap:
    """`holders` were found by `own_statistics`; `norms` are batch norms that training ran with batch statistics.

    Raises NormscopeError where too few batches were kept, or an average never moves.
    """
    module = bare(module)
    movable = [h for h in holders if h.momentum]
    if not movable:
        raise NormscopeError(
            "its own statistics never move, so that no batch tells what they should be"
        )
    averages = [*movable, *(_of_norm(n) for n in norms)]
    with untouched(module), lent(movable):
        for norm in norms:
            norm.momentum = 1.0  # what one batch leaves behind is then its own statistics
        frozen = [
            m for m in contents.modules(module) if isinstance(m, _BatchNorm) and m not in norms
        ]
        model = Model(module, averages, frozen)
        began = now()
        _batch_values(model, batches[0])
        most = int(seconds / (PASSES * max(now() - began, 1e-6)))
        chosen = list(batches)[-max(most, FEWEST) :]
        if len(chosen) < 2:
            raise NormscopeError("fewer than two training batches were kept")
        answers = [_batch_values(model, b) for b in chosen]
        running = [_evaluated(model, b, model.state) for b in chosen]
        halves = [_mean([v for i, (v, _) in enumerate(answers) if half_of(i) == k]) for k in (0, 1)]
        own = [_evaluated(model, b, halves[half_of(i)]) for i, b in enumerate(chosen)]
        other = [_evaluated(model, b, halves[1 - half_of(i)]) for i, b in enumerate(chosen)]
        model.restore()
    judged = Judgements([j for _, j in answers], other, running, own)
    samples = sum(b.samples for b in chosen)
    return compare(judged, model=model_id, name=name, samples=samples, loss=chosen[0].loss)


def _of_norm(norm: _BatchNorm) -> Holder:
    return Holder("", norm, ("running_mean", "running_var"), momentum=1.0)


def _batch_values(model: Model, batch: Kept) -> tuple[dict[Holder, Values], Judged]:
    """What the averages would be if this batch were all, and its answer by batch statistics."""
    model.restore()
    answer = judge(batch, _detached(model.train(batch)))
    values = {
        h: [
            a + (b.detach() - a) / h.momentum
            for a, b in zip(model.state[h], h.values(), strict=True)
        ]
        for h in model.holders
    }
    return values, answer


def _detached(out: object) -> object:
    return torch.utils._pytree.tree_map_only(torch.Tensor, lambda t: t.detach(), out)  # pyright: ignore


def _mean(values: Sequence[dict[Holder, Values]]) -> dict[Holder, Values]:
    return {
        h: [torch.stack(each).mean(0) for each in zip(*(v[h] for v in values), strict=True)]
        for h in values[0]
    }


def _evaluated(model: Model, batch: Kept, values: dict[Holder, Values]) -> Judged:
    for holder, put in values.items():
        holder.put(put)
    return judge(batch, model.evaluate(batch))
