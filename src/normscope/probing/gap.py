# pyright: basic
"""The gap of a setup: A, B and C on its training data, D on held-out data."""

from __future__ import annotations

from typing import Any

import msgspec
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.probes import gap
from normscope.probes.setup import Prepared
from normscope.probing.questions import Progress


class Answers(dict[str, msgspec.Struct]):
    """The answer, with recomputed mean and variance by layer."""

    population: dict[int, tuple[torch.Tensor, torch.Tensor]]


def ask(asked: Prepared, seconds: float, progress: Progress) -> dict[str, Any]:
    norms = {m: i for m, i in asked.ids.items() if isinstance(m, _BatchNorm)}
    layers = gap.Layers(norms, {m: asked.paths[m] for m in norms})
    answer = gap.measure(
        asked.model,
        asked.train,
        layers,
        model_id=0,
        name=asked.name,
        seconds=seconds,
        held_out=asked.held_out,
        progress=progress,
    )
    answers = Answers(gap=answer.gap)
    answers.population = answer.population
    return answers
