# pyright: basic
"""A loop that is known: what each of its forwards looks like from outside."""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType
from typing import TYPE_CHECKING, Any
from weakref import ref as ref_to

from torch import Size, nn

from normscope.record.torch.given import Given, nothing

if TYPE_CHECKING:
    from normscope.record.torch.roots import Root

# Of a norm layer: a reference, its mode, its momentum, whether its scale learns, and whether it has a running mean.
Traits = tuple[Callable[[], nn.Module | None], bool, Any, bool, bool]


class Loop:
    """Compared with each call of a model; in one small object, because caches are cold then (see `Pulse`)."""

    __slots__ = (
        "code",  # that calls the model
        "given",  # the model's latest input
        "instruction",  # of `code`, at which it calls
        "module",  # a reference to the model
        "norms",  # traits of its norm layers
        "same",  # it gets one tensor each time
        "shape",  # of the input
        "training",  # the model's mode
    )

    def __init__(self) -> None:
        self.code: CodeType | None = None
        self.instruction = 0
        self.module: Callable[[], nn.Module | None] = nothing
        self.training = True
        self.shape: Size | None = None
        self.given = Given()
        self.same = False
        self.norms: list[Traits] = []


def traits(root: Root) -> list[Traits]:
    """What a script may change about each norm layer in the middle of a run."""
    norms = [m for x in root.layers if (m := x.module) is not None]
    return [
        (ref_to(m), m.training, m.__dict__.get("momentum"), _learns(m), _keeps(m)) for m in norms
    ]


def alike(norms: list[Traits]) -> bool:
    """Whether every norm layer is still as it was."""
    return all(
        (norm := reference()) is not None
        and norm.__dict__["training"] is training
        and norm.__dict__.get("momentum") == momentum
        and _learns(norm) is trainable
        and _keeps(norm) is keeps
        for reference, training, momentum, trainable, keeps in norms
    )


def _learns(norm: nn.Module) -> bool:
    scale = norm._parameters.get("weight")
    return scale is None or scale.requires_grad


def _keeps(norm: nn.Module) -> bool:
    return norm._buffers.get("running_mean") is not None
