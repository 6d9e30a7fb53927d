# pyright: basic
"""What flows through a setup: its norm layers on training data, what dropout and padding do to their statistics, and the moments of
values and gradients through the depth of the model."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.probes import replays
from normscope.probes.depth import flow
from normscope.probes.passes import affordable, spread
from normscope.probes.setup import Prepared
from normscope.probes.untouched import untouched
from normscope.probing.coupling import trained
from normscope.probing.questions import Progress

REPLAYED = 0.7  # of the time
ENOUGH = 8  # batches: moments of all values of a layer need no more
PASSES = 6  # forth, back, and moments in float64


def ask(asked: Prepared, seconds: float, progress: Progress) -> Mapping[str, msgspec.Struct]:
    norms = {m: i for m, i in asked.ids.items() if isinstance(m, _BatchNorm)}
    subject = replays.Subject(0, asked.name, norms, {m: asked.paths[m] for m in norms})
    answers = replays.measure(asked.model, asked.train, subject, seconds=REPLAYED * seconds)
    progress(REPLAYED)
    with untouched(asked.model):
        some = spread(asked.train, ENOUGH)
        some = affordable(asked.model, some, (1 - REPLAYED) * seconds, passes=PASSES, least=1)
        through = flow(asked.model, some, trained(asked.model), asked.name)
    progress(1.0)
    return {**answers, "flow": through}
