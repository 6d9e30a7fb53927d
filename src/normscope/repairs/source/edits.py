"""The edits of a source file, as values: what is to change, and what must be found there."""

from __future__ import annotations

from dataclasses import dataclass, field

from normscope.record.written import Place

UNKNOWN = object()  # no value was recorded: none is compared


@dataclass(frozen=True, slots=True)
class SetKeyword:
    """Set a keyword argument of the call at `place`.

    `parameters` are those of the function that the call enters, `open` that it takes any. A literal that stands there
    must equal `expected`: another one means that the value of the run came from elsewhere.
    """

    place: Place
    keyword: str
    value: str
    parameters: tuple[str, ...] = ()
    open: bool = False
    expected: object = field(default=UNKNOWN, compare=False)


@dataclass(frozen=True, slots=True)
class EvaluationMode:
    """`model.eval()` before the evaluation around the forward at `place`, and with `restore` `model.train()` after it.

    `training` are the lines of the same file that call the model to train it.
    """

    place: Place
    restore: bool
    training: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class TrainingMode:
    """`model.train()` where training goes on with the forward at `place`. `evaluating` are lines that evaluate the model."""

    place: Place
    evaluating: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class LeaveOut:
    """Skip the batches of fewer than `least` samples, before the training forward at `place`."""

    place: Place
    least: int


@dataclass(frozen=True, slots=True)
class FollowMode:
    """Have `train()` in the method that calls a norm at `place`, or in an own `train` method, hand the mode on."""

    place: Place


Edit = SetKeyword | EvaluationMode | TrainingMode | LeaveOut | FollowMode


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no edit, where one was looked for."""

    where: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}" if self.where else self.reason


Proposal = Edit | Refusal


class RefusedError(Exception):
    """An edit does not find what it expects; the text is the reason."""
