# pyright: basic
"""How small the batches of a setup may be."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from normscope.probes import batch_size
from normscope.probes.setup import Prepared
from normscope.probing.questions import Progress


def ask(asked: Prepared, seconds: float, progress: Progress) -> Mapping[str, msgspec.Struct]:
    answer = batch_size.measure(
        asked.model, asked.train, model_id=0, name=asked.name, seconds=seconds, progress=progress
    )
    return {"batch_size": answer}
