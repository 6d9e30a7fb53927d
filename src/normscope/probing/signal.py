# pyright: basic
"""What flows through the norm layers of a setup, and what dropout and padding do to their statistics."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.probes import replays
from normscope.probes.setup import Prepared
from normscope.probing.questions import Progress


def ask(asked: Prepared, seconds: float, progress: Progress) -> Mapping[str, msgspec.Struct]:
    norms = {m: i for m, i in asked.ids.items() if isinstance(m, _BatchNorm)}
    subject = replays.Subject(0, asked.name, norms, {m: asked.paths[m] for m in norms})
    answers = replays.measure(asked.model, asked.train, subject, seconds=seconds)
    progress(1.0)
    return answers
