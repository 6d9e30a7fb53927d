# pyright: basic
"""Work that all ranks do together: if one fails, all of them know, and none waits for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

from normscope.errors import NormscopeError

T = TypeVar("T")


class Ranks:
    """The processes of torch.distributed's default group, or this one alone.

    Every rank must make the same calls in the same order. Ends of the process (KeyboardInterrupt) are not told to others.
    """

    def __init__(self, *, alone: bool = False) -> None:
        meets = torch.distributed.is_available() and torch.distributed.is_initialized()
        self.size = torch.distributed.get_world_size() if meets and not alone else 1

    def gather(self, work: Callable[[], T]) -> list[T]:
        """What `work` returns on each rank, in their order; it must be picklable.

        Raises this rank's own error; NormscopeError where another rank's work failed.
        """
        if self.size == 1:
            return [work()]
        failure: Exception | None = None
        mine: Any = None
        try:
            mine = (None, work())
        except Exception as error:  # noqa: BLE001, the others have to be told first; raised below
            failure = error
            mine = (f"{type(error).__name__}: {error}", None)
        everyone: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(everyone, mine)
        if failure is not None:
            raise failure
        for rank, (told, _) in enumerate(everyone):
            if told is not None:
                raise NormscopeError(f"Rank {rank} failed, so all of them stop: {told}")
        return [value for _, value in everyone]
