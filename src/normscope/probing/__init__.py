"""Asking a trained model: probes on a setup of the user's own, and the diagnosis that rests on their answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from normscope.diagnosis import Diagnosis, diagnose
from normscope.probing.questions import QUESTIONS, chosen
from normscope.rule import Rule

if TYPE_CHECKING:
    from normscope.probes.setup import Setup

__all__ = ["QUESTIONS", "chosen", "probe"]


def probe(
    setup: Setup | Any,
    *names: str,
    seconds: float = 60.0,
    record: Path | str | None = None,
    rules: Sequence[Rule] | None = None,
) -> Diagnosis:
    """Ask a trained model about its normalization, and judge the answers.

    Args:
        setup: a `normscope.Setup`, or a mapping or dataclass with the same names: model, train, held_out, loss…
        names: which probes; default: all.
        seconds: about how long each probe may take.
        record: a `.nscope` file to keep the answers in.
        rules: default: all that are on by default.

    The answers are in `diagnosis.recording.measurements`. Raises NormscopeError for an unknown probe and for a setup that
    cannot be used; a probe that cannot be answered is told in the coverage.
    """
    from normscope.probes.setup import setup_of
    from normscope.probing.asking import Examination

    with Examination(setup_of(setup), record=record) as examination:
        for question in chosen(names):
            examination.ask(question, seconds)
    return diagnose(examination.recording, rules)
