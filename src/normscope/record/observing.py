"""What the observers of all frameworks have in common: notes for the recording, and an end that does not reach the user's code."""

from __future__ import annotations

import os
import traceback
from typing import Any, ClassVar, Protocol

from normscope.record.store import Store


class Counting(Protocol):
    """What knows the steps done."""

    @property
    def count(self) -> int: ...


class Bookkeeping(Protocol):
    """What writes into the recording."""

    def event(self, kind: str, **facts: Any) -> None: ...

    def refresh(self) -> None: ...

    def flush(self) -> None: ...


class Observing:
    """`cell` holds the observer that is live; `what` it observes is said when it has to stop."""

    cell: ClassVar[list[Any]]
    what: ClassVar[str] = "observing"
    store: Store
    failed = False  # by an error of our own

    # Parts, which an observer has.
    steps: Counting
    books: Bookkeeping

    def event(self, kind: str, **facts: Any) -> None:
        """Note what happened, at the step that is current."""
        self.books.event(kind, **facts)

    def metric(self, name: str, value: float, step: int | None) -> None:
        """Keep a number that the script measured, under `step` or the current one."""
        self.store.put_metric(name, self.steps.count if step is None else step, value)

    def flush(self) -> None:
        """Write what is known now, so that the recording can be read while the run goes on."""
        self.books.refresh()
        self.books.flush()

    def silence(self) -> None:
        """Observe no more, if this observer is the one that is live."""
        if self.cell[0] is self:
            self.cell[0] = None

    def told_to_stop(self, step: int) -> None:
        """Observing ends in the middle of the run, because it was asked to."""
        self.event(
            "stopped",
            detail=f"observing ended after step {step}, as was asked for; nothing later is known",
        )

    def fail(self, error: BaseException) -> None:
        """Become inert after an error of our own, and say so."""
        self.cell[0] = None
        self.failed = True
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{os.path.basename(last.filename)}:{last.lineno}"
        try:
            self.event(
                "observer-error",
                detail=f"{self.what} stopped at step {self.steps.count}: {type(error).__name__}: {error} ({where})",
            )
            self.books.flush()
        except Exception:  # noqa: BLE001
            return  # The store itself is broken: closing it will say so, and the run must go on.
