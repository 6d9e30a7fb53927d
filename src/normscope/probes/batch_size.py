# pyright: basic
"""How small a batch may be for this network, now: the averaged gradient of the same samples, cut into batches of each size.

Weights are fixed, dropout is off, batch norms use the statistics of each batch and keep their running ones. The samples are the same
for every size, so that what differs is the doing of normalization (see `normscope.probes.gram` for the estimators).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.errors import NormscopeError
from normscope.graph.torch import contents
from normscope.probes import by_depth, gram
from normscope.probes.answers.batch_size import (
    BatchSize,
    LayerBias,
    Replaced,
    SizeBias,
    smallest_safe,
)
from normscope.probes.gradients import Gradient, gradient, trainable
from normscope.probes.plan import Plan, planned
from normscope.probes.recut import Pool
from normscope.probes.regularizers import noisy_norms
from normscope.probes.replay import bare, set_mode
from normscope.probes.sets import Ask, Layout, Samples, averaged
from normscope.probes.setup import Given
from normscope.probes.untouched import untouched
from normscope.probes.without_statistics import replaced

# Relative bias that a batch may have. With a bias of e times the gradient's length, the averaged step keeps a share of 1 − e of the
# descent at least; from 1 on it may climb. Digits in training: 0.2 to 0.4 at 8 samples, where nothing is lost, and 0.5 to 0.8
# at 4, where accuracy begins to fall (docs/probes.md).
THRESHOLD = 0.5
CUTS = 2  # random cuts of each set: two are the fewest that tell chance from bias
COMPARED = 2  # sets on which replaced norms are asked


def measure(
    model: nn.Module,
    batches: Sequence[Given],
    *,
    model_id: int,
    name: str,
    seconds: float = 60.0,
    progress: Callable[[float], None] = lambda _: None,
) -> BatchSize:
    """Ask the model; about `seconds` of time, the model untouched afterwards.

    Raises NormscopeError with the reason when it cannot be asked: no batch norm, no loss, samples that cannot be cut anew or are
    too few, too slow.
    """
    model = bare(model)
    norms: list[_BatchNorm] = [model.get_submodule(p) for p in noisy_norms(model)]  # pyright: ignore
    if not norms and not any(
        isinstance(m, _BatchNorm) and m.running_mean is None for m in contents.modules(model)
    ):
        raise NormscopeError("it has no batch norm that training runs with batch statistics")
    pool = Pool(batches)
    with untouched(model):
        set_mode(model, norms)
        parameters = trainable(model)
        order = by_depth.called(model, pool.take(torch.arange(min(4, pool.samples))), parameters)
        layout = Layout(order, parameters)
        ask = partial(_gradient, model, parameters)
        plan = planned(ask, pool, seconds=seconds, cuts=CUTS, compared=COMPARED)
        work = Work(plan, progress)
        grams = grams_of(ask, pool, layout, plan, work)
        others = tuple(_compared(model, pool, plan, kind, work) for kind in ("group", "layer"))
    progress(1.0)
    return answer(order, grams, plan, others, model_id=model_id, name=name)


def _gradient(model: nn.Module, parameters: Sequence[nn.Parameter], batch: Given) -> Gradient:
    return gradient(model, batch, parameters)


def answer(
    order: Mapping[str, Any],
    grams: Mapping[int, gram.Gram],
    plan: Plan,
    others: tuple[Replaced, ...],
    *,
    model_id: int,
    name: str,
) -> BatchSize:
    """Of the inner products for each size, those of the layers in `order` first, the total last."""
    sizes = tuple(_size(b, grams[b], plan.sets) for b in plan.sizes)
    return BatchSize(
        model=model_id,
        name=name,
        samples=plan.sets * plan.largest,
        largest=plan.largest,
        sets=plan.sets,
        cuts=CUTS,
        threshold=THRESHOLD,
        sizes=sizes,
        layers=_layers(order, grams, plan),
        safe=smallest_safe(sizes, THRESHOLD),
        skipped=plan.skipped,
        replaced=others,
    )


class Work:
    """Tells progress by the time that a size was planned to take."""

    def __init__(self, plan: Plan, progress: Callable[[float], None]) -> None:
        self.left = self.whole = plan.seconds
        self.progress = progress

    def done(self, seconds: float) -> None:
        self.left = max(0.0, self.left - seconds)
        self.progress(1 - self.left / self.whole if self.whole else 1.0)


def grams_of(
    ask: Ask, pool: Samples, layout: Layout, plan: Plan, work: Work
) -> dict[int, gram.Gram]:
    """For each size below the largest, the inner products between sets, of each layer and of all together."""
    sets = plan.divided(pool.samples)
    whole = torch.stack([averaged(ask, pool, s, len(s), layout) for s in sets])
    work.done(plan.sets * plan.cost[plan.largest])
    found: dict[int, gram.Gram] = {}
    for size in sorted(plan.sizes, reverse=True):
        rows = []
        for number, members in enumerate(sets):
            cuts = [
                averaged(ask, pool, plan.shuffled(members, number, r), size, layout)
                for r in range(CUTS)
            ]
            rows.append(torch.stack(cuts))
            work.done(CUTS * plan.cost[size])
        found[size] = gram.Gram.of(whole, torch.stack(rows), layout.slices).with_total()
    return found


def _size(size: int, products: gram.Gram, sets: int) -> SizeBias:
    bias, cosine = _readings(products, sets)
    rank, slope = by_depth.trend(products, sets)
    noise = float(products.added_noise()[-1])
    return SizeBias(size, bias[-1], cosine[-1], noise, rank, slope)


def _readings(products: gram.Gram, sets: int) -> tuple[list[gram.Interval], list[gram.Interval]]:
    """Relative bias and cosine of each layer, the total last."""
    one, many = gram.all_sets(sets), gram.resampled(sets)
    squares, drawn = gram.bias_squared(products, one)[0], gram.bias_squared(products, many)
    angles, turned = gram.cosine(products, one)[0], gram.cosine(products, many)
    bias = [
        gram.root(gram.interval(float(x), d, sets, -torch.inf, torch.inf))
        for x, d in zip(squares, drawn.T, strict=True)
    ]
    cosine = [
        gram.interval(float(x), d, sets, -1.0, 1.0) for x, d in zip(angles, turned.T, strict=True)
    ]
    return bias, cosine


def _layers(
    order: Mapping[str, Any], grams: Mapping[int, gram.Gram], plan: Plan
) -> tuple[LayerBias, ...]:
    readings = [_readings(grams[b], plan.sets) for b in plan.sizes]
    places = by_depth.places(len(order))
    return tuple(
        LayerBias(path, at, tuple(b[i] for b, _ in readings), tuple(c[i] for _, c in readings))
        for i, (path, at) in enumerate(zip(order, places, strict=True))
    )


def _compared(
    model: nn.Module, pool: Pool, plan: Plan, kind: Literal["group", "layer"], work: Work
) -> Replaced:
    """The relative bias with other norms, on a few sets with one cut: nothing has to be told from chance where there is none."""
    try:
        other = replaced(model, kind)
        parameters = trainable(other)
        ask = partial(_gradient, other, parameters)
        return Replaced(kind, biases(ask, pool, parameters, plan, work))
    except NormscopeError as reason:
        return Replaced(kind, refused=str(reason))
    except Exception as error:  # noqa: BLE001, the user's forward runs with a module that it may not expect
        told = " ".join(str(error).split()) or "no message"
        return Replaced(kind, refused=f"with it the model raised {type(error).__name__}: {told}")


def biases(
    ask: Ask, pool: Samples, parameters: Sequence[torch.Tensor], plan: Plan, work: Work
) -> tuple[float, ...]:
    """The relative bias by size, of a few sets that are cut once."""
    layout = Layout({"": list(range(len(parameters)))}, parameters)
    sets = plan.divided(pool.samples)[:COMPARED]
    whole = torch.stack([averaged(ask, pool, s, len(s), layout) for s in sets]).sum(0)
    found: list[float] = []
    for size in plan.sizes:
        cut = torch.stack([averaged(ask, pool, s, size, layout) for s in sets]).sum(0)
        found.append(float((cut - whole).norm() / whole.norm()))
        work.done(COMPARED * plan.cost[size])
    return tuple(found)
