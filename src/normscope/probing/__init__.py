"""Asking a trained model: probes on a setup of the user's own, and the diagnosis that rests on their answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from normscope.diagnosis import Diagnosis, diagnose
from normscope.probing.questions import QUESTIONS, chosen
from normscope.repairs.dispatching import of_keras
from normscope.rule import Rule

if TYPE_CHECKING:
    from normscope.probes.setup import Setup
    from normscope.probing.asking import Examination

__all__ = ["QUESTIONS", "chosen", "examined", "probe"]


def probe(
    setup: Setup | Any,
    *names: str,
    seconds: float = 60.0,
    record: Path | str | None = None,
    rules: Sequence[Rule] | None = None,
) -> Diagnosis:
    """Ask a trained model about its normalization, and judge the answers.

    Args:
        setup: a `normscope.Setup`, or a mapping or dataclass with the same names: model, train, held_out, loss… Of a Keras model
            `train` is what `fit` takes, such as `(x, y)`, and `loss` by default that of `compile`.
        names: which probes; default: all.
        seconds: about how long each probe may take.
        record: a `.nscope` file to keep the answers in.
        rules: default: all that are on by default.

    The answers are in `diagnosis.recording.measurements`. Raises NormscopeError for an unknown probe and for a setup that
    cannot be used; a probe that cannot be answered is told in the coverage.
    """
    with examined(setup, record=record) as examination:
        for question in chosen(names):
            examination.ask(question, seconds)
    return diagnose(examination.recording, rules)


def examined(made: Any, *, target: str = "", record: Path | str | None = None) -> Examination:
    """The examination of what a setup gives, for a model of PyTorch or of Keras. Raises NormscopeError when it cannot be used."""
    if of_keras(made):
        from normscope.probing.keras import Examination as OfKeras

        return OfKeras(made, target=target, record=record)
    from normscope.probes.setup import setup_of
    from normscope.probing.asking import Examination as OfTorch

    setup = setup_of(made, f"`{target}`" if target else "the setup")
    return OfTorch(setup, target=target, record=record)
