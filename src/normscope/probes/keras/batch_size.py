# pyright: basic
"""How small a batch may be for a Keras model, now: `probes/batch_size.py` on any backend of Keras."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import gcd
from typing import Any

import keras
import torch

from normscope.errors import NormscopeError
from normscope.graph.keras import paths_in
from normscope.probes.answers.batch_size import BatchSize, Replaced
from normscope.probes.batch_size import COMPARED, CUTS, Work, answer, biases, grams_of
from normscope.probes.gradients import Gradient
from normscope.probes.keras.asking import respond, untouched
from normscope.probes.keras.exchanging import Call, exchanged
from normscope.probes.keras.gradients import gradient
from normscope.probes.keras.samples import Pool
from normscope.probes.plan import Plan, planned
from normscope.probes.sets import Layout
from normscope.record.keras.backends import Backend
from normscope.record.keras.batches import Kept
from normscope.record.keras.norms import scale_of

GROUPS, ROOM = 32, 8  # at most so many groups (Wu & He 2018), of so many channels at least


def measure(
    model: Any,
    batches: Sequence[Kept],
    norms: Sequence[Any],
    backend: Backend,
    *,
    number: int,
    name: str,
    seconds: float = 60.0,
    progress: Callable[[float], None] = lambda _: None,
) -> BatchSize:
    """Ask the model, whose `norms` use the statistics of each batch; about `seconds` of time, the model untouched afterwards.

    Raises NormscopeError with the reason when it cannot be asked: no batch norm, no loss, samples that cannot be cut anew or are
    too few, too slow.
    """
    if not norms:
        raise NormscopeError("it has no batch norm that training runs with batch statistics")
    variables = list(model.trainable_variables)
    if not variables:
        raise NormscopeError("none of its variables is trainable")
    parameters = [torch.empty(tuple(v.shape), device="meta") for v in variables]
    pool = Pool(batches)

    def ask(batch: Kept) -> Gradient:
        return gradient(model, batch, norms)

    with untouched(model, backend):
        order = called(model, pool.take(torch.arange(min(4, pool.samples))), variables)
        layout = Layout(order, parameters)
        plan = planned(ask, pool, seconds=seconds, cuts=CUTS, compared=COMPARED)
        work = Work(plan, progress)
        grams = grams_of(ask, pool, layout, plan, work)
        others = tuple(
            _replaced(model, kind, norms, pool, parameters, plan, work)
            for kind in ("group", "layer")
        )
    progress(1.0)
    return answer(order, grams, plan, others, model_id=number, name=name)


def called(model: Any, batch: Kept, variables: Sequence[Any]) -> dict[str, list[int]]:
    """The paths of layers with variables of their own, by first call, each with the numbers of its variables."""
    paths = {id(layer): (path, layer) for path, layer in paths_in(model)}
    order: list[int] = []

    def followed(layer: Any, call: Call) -> Call:
        def inside(*args: Any, **kwargs: Any) -> Any:
            order.append(id(layer))
            return call(*args, **kwargs)

        return inside

    with exchanged((layer for _, layer in paths.values()), followed):
        respond(model, batch)
    numbers = {id(v): i for i, v in enumerate(variables)}
    found: dict[str, list[int]] = {}
    for key in dict.fromkeys([*order, *paths]):
        path, layer = paths[key]
        own = [numbers.pop(id(v)) for v in layer._trainable_variables if id(v) in numbers]
        if own:
            found[path] = own
    if numbers:  # those of the model itself
        found[type(model).__name__] = list(numbers.values())
    return found


def _replaced(
    model: Any,
    kind: str,
    norms: Sequence[Any],
    pool: Pool,
    parameters: Sequence[torch.Tensor],
    plan: Plan,
    work: Work,
) -> Replaced:
    """The relative bias with norms that look at one sample at a time, in place of the model's own."""
    for norm in norms:
        channels = int(norm.moving_mean.shape[0])
        if channels < 2 or (kind == "group" and _groups(channels) < 2):
            return Replaced(
                kind,
                refused=f"the {channels} channels of `{norm.name}` cannot be divided into groups",
            )

    def other(layer: Any, call: Call) -> Call:
        del call
        channels = int(layer.moving_mean.shape[0])
        return _per_sample(layer, 1 if kind == "layer" else _groups(channels))

    with exchanged(norms, other):
        found = biases(lambda batch: gradient(model, batch, ()), pool, parameters, plan, work)
    return Replaced(kind, found)


def _groups(channels: int) -> int:
    return gcd(channels, min(GROUPS, max(1, channels // ROOM)))


def _per_sample(layer: Any, groups: int) -> Call:
    """Group norm with the batch norm's scale, shift and epsilon; with one group, layer norm over all of a sample."""

    def call(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        del args, kwargs
        ops: Any = keras.ops
        x = ops.moveaxis(inputs, layer.axis, 1)
        shape = ops.shape(x)
        rows = ops.reshape(x, (shape[0], groups, -1))
        mean, var = ops.moments(rows, axes=-1, keepdims=True)
        rows = (rows - mean) * ops.rsqrt(var + layer.epsilon)
        wide = (1, -1) + (1,) * (len(shape) - 2)
        y = ops.reshape(rows, shape)
        for variable, join in ((scale_of(layer), ops.multiply), (layer.beta, ops.add)):
            if variable is not None:
                y = join(y, ops.reshape(variable, wide))
        return ops.moveaxis(y, 1, layer.axis)

    return call
