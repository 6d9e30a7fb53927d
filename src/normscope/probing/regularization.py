# pyright: basic
"""What the regularizers of a setup cost on its training data."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from normscope.probes import regularization
from normscope.probes.setup import Prepared
from normscope.probing.questions import Progress


def ask(asked: Prepared, seconds: float, progress: Progress) -> Mapping[str, msgspec.Struct]:
    answer = regularization.measure(asked, model_id=0, seconds=seconds, progress=progress)
    return {"regularization": answer}
