"""A line on the terminal that tells how far a repair has come; nothing in a pipe. Imports no framework."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager


@contextmanager
def counting(what: str) -> Generator[Callable[[int], None]]:
    """A function that is told the samples of each batch that has run."""
    # Bound now: while a model is asked, standard error is muted.
    from rich.console import Console
    from rich.progress import Progress, TextColumn, TimeElapsedColumn

    console = Console(file=sys.stderr)
    columns = (
        TextColumn("{task.description}"),
        TextColumn("{task.completed:,.0f} samples"),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns,
        console=console,
        transient=True,
        disable=not console.is_terminal,
        redirect_stdout=False,
        redirect_stderr=False,
    ) as bar:
        task = bar.add_task(what, total=None)
        yield lambda samples: bar.advance(task, samples)
