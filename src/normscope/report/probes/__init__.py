"""The answers of probes in words and figures: one module for each kind of answer.

A module has `sentence(answer)`, the answer in plain words, and `sections(answer, number)`, its figures for the page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from normscope.record.recording import Recording
from normscope.report.html.figures import Section
from normscope.report.probes import (
    batch_size,
    coupling,
    domain,
    flow,
    gap,
    noise,
    regularization,
    signal,
)


class Presentation(Protocol):
    """How one kind of answer is shown."""

    def sentence(self, answer: Any, /) -> str: ...
    def sections(self, answer: Any, number: int, /) -> Iterator[Section]: ...


PRESENTATIONS: Mapping[str, Any] = {
    "gap": gap,
    "coupling": coupling,
    "domain": domain,
    "noise": noise,
    "signal": signal,
    "flow": flow,
    "batch_size": batch_size,
    "regularization": regularization,
}


def sentence(name: str, answer: object) -> str:
    """The answer of that name in plain words; empty for one that stands for another (the dropout pass of `signal`)."""
    return PRESENTATIONS[name].sentence(answer) if name in PRESENTATIONS else ""


def sentences(recording: Recording) -> Iterator[str]:
    """Every answer in plain words, in the order in which they were asked for."""
    for name, answers in recording.measurements.items():
        if (shown := PRESENTATIONS.get(name)) is not None:
            yield from (shown.sentence(answer) for answer in answers)


def sections(recording: Recording) -> Iterator[Section]:
    """The figures of every answer."""
    for name, answers in recording.measurements.items():
        if (shown := PRESENTATIONS.get(name)) is not None:
            for number, answer in enumerate(answers):
                yield from shown.sections(answer, number)
