"""The probes by name, each with the question that it answers. Imports no framework until one is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from normscope.errors import NormscopeError, did_you_mean

if TYPE_CHECKING:
    import msgspec

Progress = Callable[[float], None]  # is told the share that is done, from 0 to 1
Answers = Mapping[str, "msgspec.Struct"]  # by the name of the evidence that they are


@dataclass(frozen=True, slots=True)
class Question:
    """`home` is a module with a function `ask(prepared, seconds, progress)` that returns answers by evidence name."""

    name: str
    what: str
    home: str

    @property
    def ask(self) -> Callable[[Any, float, Progress], Answers]:
        return import_module(self.home).ask


QUESTIONS: Mapping[str, Question] = {
    q.name: q
    for q in (
        Question(
            "gap",
            "How much of a train-evaluation gap is stale statistics, batch inconsistency, generalization?",
            "normscope.probing.gap",
        ),
        Question(
            "coupling",
            "How much does an output change with its batch mates, and is an answer read off them?",
            "normscope.probing.coupling",
        ),
        Question(
            "domain",
            "How far are held-out and other data from the running statistics, and what does re-estimating gain?",
            "normscope.probing.domain",
        ),
        Question(
            "noise",
            "How noisy are the mean and the variance of a batch, layer by layer, and of the running average?",
            "normscope.probing.noise",
        ),
        Question(
            "signal",
            "What flows through the depth: moments, gradients, channels that died, activations that saturate?",
            "normscope.probing.signal",
        ),
        Question(
            "batch_size",
            "How small may a batch be, for this network, now: the averaged gradient of the same samples cut anew?",
            "normscope.probing.batch_size",
        ),
        Question(
            "regularization",
            "What do batch noise, dropout and weight decay cost on the training data, each switched off alone?",
            "normscope.probing.regularization",
        ),
    )
}


def chosen(names: Iterable[str]) -> tuple[Question, ...]:
    """The named questions in the order given, all without a name. Raises NormscopeError for an unknown one."""
    found: dict[str, Question] = {}
    for name in names:
        key = name.replace("-", "_")
        if key not in QUESTIONS:
            raise NormscopeError(
                f"There is no probe `{name}`.{did_you_mean(key, QUESTIONS)} Probes: {', '.join(QUESTIONS)}."
            )
        found[key] = QUESTIONS[key]
    return tuple(found.values()) or tuple(QUESTIONS.values())
