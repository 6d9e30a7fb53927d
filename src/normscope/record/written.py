"""Calls that the user wrote and that a repair of the source may have to change. Imports no framework.

A line is not enough to change a call: there may be several in it. Python tells the exact range of the call expression
that a frame is running, and what the call enters tells the names of its parameters.
"""

from __future__ import annotations

from typing import Literal

import msgspec

WrittenKind = Literal["norm", "affine", "loader", "function", "forward"]


class Place(msgspec.Struct, frozen=True):
    """The range of an expression: lines from 1, columns in bytes of UTF-8 from 0, the end excluded."""

    file: str
    line: int
    end_line: int
    column: int
    end_column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Member(msgspec.Struct, frozen=True):
    """What a call made: the module at `path` of a model."""

    model: int
    path: str


class Written(msgspec.Struct, kw_only=True):
    """One call in the user's code.

    kinds: `norm` and `affine` built modules (`members`), `loader` a data loader, `function` is a norm function called
    by the user's own code (`members` is its layer), `forward` called a model (`members` has its number).
    """

    id: int
    kind: WrittenKind
    place: Place
    enters: str = ""  # the function that the call enters
    parameters: tuple[str, ...] = ()  # of that function, in order, without `self`
    open: bool = False  # that function takes any keyword
    members: tuple[Member, ...] = ()
    owner: str = ""  # the name of the module whose method the call stands in
    batch_size: int | None = None  # of a loader
    drop_last: bool | None = None
    shuffles: bool | None = None  # None: a sampler of the user's own decides
    steps: int = 0  # training steps done while a loader of this call was the last one begun with gradients on
    passes: int = 0  # times that such a loader was begun
    idle: int = 0  # of them, those without gradients or without a step


class Source(msgspec.Struct, frozen=True):
    """A file of the user's as it was in the run; `digest` is empty when it had changed since the run began."""

    file: str
    path: str
    digest: str  # SHA-256 of its bytes
