# pyright: basic
"""How much the output of a Keras model for one sample owes to its batch mates, and whether an answer is read off them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch

from normscope.errors import NormscopeError
from normscope.probes.answers.coupling import Coupling, Leak, Mates
from normscope.probes.judgement import UNITS, Judged
from normscope.probes.keras.asking import arguments, respond, unmoved, untouched
from normscope.probes.keras.exchanging import Call, exchanged
from normscope.probes.keras.judging import judge, unit
from normscope.probes.keras.samples import exchanged as mixed
from normscope.probes.keras.samples import shuffled
from normscope.probes.leak import PASSES, leaked
from normscope.probes.mates import compared, pairs_of, steps_of
from normscope.probes.passes import common_size, spread
from normscope.record.keras.backends import Backend
from normscope.record.keras.batches import Kept

SHARE = 0.4  # of the time, for the mates
PATIENCE = 3  # times the granted seconds that the smallest useful probe may take


@dataclass(frozen=True, slots=True)
class Subject:
    """A model, its batch norms that training runs with batch statistics, and all of them by their paths."""

    model: Any
    trained: Sequence[Any]
    paths: dict[str, Any]
    backend: Backend
    told: bool = True


def measure(
    subject: Subject,
    batches: Sequence[Kept],
    *,
    number: int,
    name: str,
    seconds: float = 60.0,
    progress: Callable[[float], None] = lambda _: None,
) -> Coupling:
    """Ask the model, which is untouched afterwards. Raises NormscopeError with the reason when it cannot be asked."""
    began = perf_counter()
    size = common_size(batches)  # pyright: ignore
    alike = [b for b in batches if b.samples == size]
    with untouched(subject.model, subject.backend):
        once = _once(subject, alike[0])
        some = _affordable(alike, SHARE * seconds, once * (2 + 2 * len(steps_of(size))))
        pairs = pairs_of(some, size)
        if size < 2 or not pairs:
            raise NormscopeError("it needs two batches of one size, of two samples at least")
        evaluation = _mates(subject, pairs, training=False)
        progress(0.5 * SHARE)
        training = _mates(subject, pairs, training=True)
        progress(SHARE)
        left = max(seconds - (perf_counter() - began), 0.3 * seconds)
        found, note = _leak(
            subject, batches, left, once, lambda x: progress(SHARE + (1 - SHARE) * x)
        )
        tied = _tied(subject, pairs[0][0])
    floors = [row.change.value for rows in (evaluation, training) for row in rows[:1]]
    return Coupling(
        model=number,
        name=name,
        batch=size,
        pairs=len(pairs),
        floor=max(floors, default=0.0),
        evaluation=evaluation[1:],
        training=training[1:],
        coupled_layers=tied,
        leak=found,
        note=note,
    )


def _once(subject: Subject, batch: Kept) -> float:
    """Seconds of a forward pass; the first may allocate and choose kernels."""
    times: list[float] = []
    for _ in range(2):
        start = perf_counter()
        respond(subject.model, batch)
        times.append(perf_counter() - start)
    return min(times)


def _affordable(batches: Sequence[Kept], seconds: float, each: float, least: int = 2) -> list[Kept]:
    if least * each > PATIENCE * seconds:
        raise NormscopeError(
            f"asking it would take about {least * each:.2g} seconds, of which {seconds:.2g} are granted"
        )
    return spread(batches, max(least, int(seconds / max(each, 1e-9))))  # pyright: ignore


def _mates(
    subject: Subject, pairs: Sequence[tuple[Kept, Kept]], *, training: bool
) -> tuple[Mates, ...]:
    """Every forward begins with the same random states, so that masks of dropout stay with their places."""
    model, backend = subject.model, subject.backend
    states = [(v, backend.read(v)) for v in model.variables if v.path.endswith("_state")]

    def answer(batch: Kept) -> Judged:
        torch.manual_seed(0)  # which Keras' dropout draws from on that backend
        for variable, value in states:
            variable.assign(value)
        if not training:
            return judge(batch, respond(model, batch, told=subject.told), backend)
        args, kwargs = arguments(model, batch, training=True)
        with unmoved(list(subject.paths.values())):
            return judge(batch, model(*args, **kwargs), backend)

    return compared(pairs, answer, mixed)


def _leak(
    subject: Subject,
    batches: Sequence[Kept],
    seconds: float,
    once: float,
    progress: Callable[[float], None],
) -> tuple[Leak | None, str]:
    if not subject.trained:
        return None, "Training uses no batch statistics, so that nothing can leak through them."

    def ask(some: Sequence[Kept], by_batch: Sequence[Any] = ()) -> list[Judged]:
        return [judge(b, respond(subject.model, b, by_batch), subject.backend) for b in some]

    try:
        some = _affordable(batches, seconds, PASSES * once, least=4)
        kind = UNITS.get(unit(some[0]) or "", "loss")
        return leaked(some, lambda b: ask(b, subject.trained), ask, shuffled, kind, progress), ""
    except NormscopeError as reason:
        return None, f"Whether an answer leaks was not tested: {reason}."


def _tied(subject: Subject, batch: Kept) -> tuple[str, ...]:
    """The norms that use batch statistics as the model is evaluated."""
    found: list[str] = []
    paths = {id(layer): path for path, layer in subject.paths.items()}

    def watched(layer: Any, call: Call) -> Call:
        def inside(inputs: Any, *args: Any, **kwargs: Any) -> Any:
            told = args[0] if args else kwargs.get("training")
            if told and layer.trainable:
                found.append(paths[id(layer)])
            return call(inputs, *args, **kwargs)

        return inside

    norms = list(subject.paths.values())
    with exchanged(norms, watched), unmoved(norms):
        respond(subject.model, batch, told=subject.told)
    return tuple(dict.fromkeys(found))
