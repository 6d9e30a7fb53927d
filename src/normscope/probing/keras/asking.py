# pyright: basic
"""An examination of a Keras model: the same recording and the same answers, asked on Keras' backend."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from normscope.checking.keras import static_recording
from normscope.errors import NormscopeError
from normscope.probes.keras.setup import SAMPLES, Prepared, prepared
from normscope.probing.asking import Examination as Base
from normscope.probing.asking import kept_in
from normscope.probing.keras.answers import ASK
from normscope.probing.questions import Answers, Progress, Question
from normscope.record.keras.layers import NormLayer
from normscope.record.recording import PROBED, Event, Recording


class Examination(Base):
    """Ask probes one by one of what a setup of a Keras model gives."""

    def __init__(
        self,
        made: Any,
        *,
        target: str = "",
        record: Path | str | None = None,
        samples: int = SAMPLES,
    ) -> None:
        asked = prepared(made, f"`{target}`" if target else "the setup", samples=samples)
        self.recording = _looked_at(asked, target or asked.name)
        for number, norm in asked.norms.items():
            asked.layers[number] = NormLayer(
                self.recording.layers[number], norm, asked.backend.read
            )
        self.asked = asked
        self.store = kept_in(record, self.recording)

    def answers(self, question: Question, seconds: float, progress: Progress) -> Answers:
        if question.name not in ASK:
            raise NormscopeError(
                f"Keras models cannot be asked this yet; they can be asked {', '.join(ASK)}"
            )
        return ASK[question.name](self.asked, seconds, progress)


def _looked_at(asked: Prepared, target: str) -> Recording:
    """What is known of the model before any probe, with the graph of its first training batch where it can be had."""
    try:
        recording = static_recording(asked.model, asked.train[0].args, target=target)
    except NormscopeError as error:
        recording = static_recording(asked.model, None, target=target)
        recording.events.append(Event(kind="not-captured", model=0, detail=str(error)))
    recording.status = PROBED
    recording.started = time.time()
    return recording
