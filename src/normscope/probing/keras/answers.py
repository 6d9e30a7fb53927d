# pyright: basic
"""The questions that Keras models can be asked, by the name of the probe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from normscope.errors import NormscopeError
from normscope.probes.keras import batch_size, coupling, gap, replays
from normscope.probes.keras.setup import Prepared
from normscope.probing.questions import Answers, Progress


class Recomputed(dict[str, msgspec.Struct]):
    """The answer, with recomputed mean and variance by layer."""

    population: dict[int, tuple[Any, Any]]


def _gap(asked: Prepared, seconds: float, progress: Progress) -> Answers:
    del progress
    layers = {k: asked.layers[k] for k in asked.trained}
    subject = gap.Subject(asked.model, layers, asked.backend)
    answer, population = gap.measure(
        subject,
        asked.train,
        number=0,
        name=asked.name,
        seconds=seconds,
        held_out=asked.held_out,
    )
    answers = Recomputed(gap=answer)
    answers.population = {k: (m.mean, m.var) for k, m in population.items()}
    return answers


def _coupling(asked: Prepared, seconds: float, progress: Progress) -> Answers:
    paths = {asked.paths[k]: n for k, n in asked.norms.items() if hasattr(n, "moving_mean")}
    subject = coupling.Subject(asked.model, list(asked.trained.values()), paths, asked.backend)
    answer = coupling.measure(
        subject, asked.train, number=0, name=asked.name, seconds=seconds, progress=progress
    )
    return {"coupling": answer}


def _batch_size(asked: Prepared, seconds: float, progress: Progress) -> Answers:
    answer = batch_size.measure(
        asked.model,
        asked.train,
        list(asked.trained.values()),
        asked.backend,
        number=0,
        name=asked.name,
        seconds=seconds,
        progress=progress,
    )
    return {"batch_size": answer}


def _signal(asked: Prepared, seconds: float, progress: Progress) -> Answers:
    del progress
    norms = asked.trained
    if not norms:
        raise NormscopeError("it has no batch norm that training runs with batch statistics")
    subject = replays.Subject(asked.model, 0, asked.name, norms, asked.paths, asked.backend)
    return replays.measure(subject, asked.train, seconds=seconds)


ASK: Mapping[str, Callable[[Prepared, float, Progress], Answers]] = {
    "gap": _gap,
    "coupling": _coupling,
    "signal": _signal,
    "batch_size": _batch_size,
}
