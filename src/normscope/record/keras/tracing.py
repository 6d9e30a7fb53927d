# pyright: basic
"""What was seen of a model while a compiled step was traced: the forward, and which of the step's inputs it was given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras.src import backend as keras_backend
from keras.src import tree
from numpy.typing import NDArray

from normscope.record.timeline import Forward


@dataclass(slots=True)
class Target:
    """The loss that read an output of a traced forward, and the place of its target among the step's inputs."""

    loss: Any  # Keras' own object
    place: int
    output: int


@dataclass(slots=True)
class Traced:
    """One forward of a traced step; each run of the compiled step repeats it.

    `arguments` are the model's, with places among the step's inputs instead of tensors; None where the model was given
    something that the step made itself.
    """

    forward: Forward
    trace: Any  # of which it is a part, an object of its own for each
    taped: bool | None  # whether gradients were recorded; None where the backend does not tell
    arguments: tuple[Any, Any] | None
    target: Target | None = None
    loss: Any = None  # the symbolic tensor of its loss

    @property
    def signature(self) -> tuple[Any, ...]:
        """What another trace of the same step has in common with this one: sizes may differ."""
        forward = self.forward
        calls = tuple(c[:3] for c in forward.calls)
        return id(forward.root), forward.site, forward.training, calls

    def used(self, *, stepped: bool) -> bool:
        """Whether a gradient was taken through it, in a step that changes variables."""
        return stepped and (self.forward.training if self.taped is None else self.taped)

    def given(self, inputs: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """The model's arguments in a run of the step with these inputs; None when they do not fit."""
        if self.arguments is None or any(p.index >= len(inputs) for p in _places(self.arguments)):
            return None
        if any(not p.fits(inputs[p.index]) for p in _places(self.arguments)):
            return None
        filled: Any = tree.map_structure(
            lambda x: inputs[x.index] if isinstance(x, Place) else x, self.arguments
        )
        return filled


class Place:
    """An input of the step, by its number, and the shape of one sample."""

    def __init__(self, index: int, shape: tuple[Any, ...]) -> None:
        self.index = index
        self.shape = shape

    def fits(self, value: Any) -> bool:
        shape = tuple(getattr(value, "shape", ()))
        return len(shape) == len(self.shape) and all(
            n in (None, m) for n, m in zip(self.shape[1:], shape[1:], strict=True)
        )


def _places(arguments: Any) -> list[Place]:
    return [x for x in tree.flatten(arguments) if isinstance(x, Place)]


def arguments_of(trace: Any, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
    """The arguments of a model that is called inside a trace, with places instead of tensors; None when one is no input."""
    places = {id(t): i for i, t in enumerate(getattr(trace, "inputs", ()))}
    unknown = False

    def place(value: Any) -> Any:
        nonlocal unknown
        if not keras_backend.is_tensor(value):
            return value
        if (index := places.get(id(value))) is None:
            unknown = True
            return value
        return Place(index, tuple(value.shape))

    kwargs = {k: v for k, v in kwargs.items() if k != "training"}
    found: Any = tree.map_structure(place, (tuple(args), kwargs))
    return None if unknown or not _places(found) else found


def place_of(trace: Any, value: Any) -> int | None:
    """The number of the step's input that this tensor is."""
    inputs = getattr(trace, "inputs", ())
    return next((i for i, t in enumerate(inputs) if t is value), None)


def returned_at(trace: Any, value: Any) -> int | None:
    """The number of the step's output that this tensor is; TensorFlow returns a copy of it."""
    for i, output in enumerate(getattr(trace, "outputs", ())):
        made = getattr(output, "op", None)
        copied = made is not None and made.type == "Identity" and made.inputs[0] is value
        if output is value or copied:
            return i
    return None


def inputs_in(*values: Any) -> list[Any]:
    """The tensors and arrays among the arguments of a compiled step, in its own order."""
    return [
        x
        for x in tree.flatten(values)
        if keras_backend.is_tensor(x) or isinstance(x, (np.ndarray, np.generic))
    ]


def samples_in(inputs: Sequence[NDArray[Any]]) -> int:
    """The size of dimension 0 of the first input that has one."""
    return next((int(x.shape[0]) for x in inputs if len(x.shape)), 0)


def again(traced: Traced, samples: int, step: int, activity: int) -> Forward:
    """The same forward once more, at another step and with a batch of that size."""
    before = traced.forward
    forward = Forward(before.root, before.training, step, activity, before.site)
    for call in before.calls:
        own = call[3] or samples
        # The number of values was noted for one sample, as a negative number, where the batch's size was not known.
        values = -call[4] * own if call[4] < 0 else call[4]
        forward.calls.append((*call[:3], own, values, *call[5:]))
    return forward
