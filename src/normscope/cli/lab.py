"""`normscope lab`: lists claims, runs them with a bar on a terminal, and writes the page."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from normscope.cli.outputs import check_writable
from normscope.errors import NormscopeError

if TYPE_CHECKING:
    from normscope.lab.claim import Claim, Scale
    from normscope.lab.page import Judged
    from normscope.lab.running import Done, Task
    from normscope.lab.store import Store

RESULTS = Path("normscope-lab.sqlite")
INTERRUPTED = 128 + signal.SIGINT


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What stands on the command line; `results` None is the file of that name in this folder."""

    everything: bool = False
    scale: str = "quick"
    data: str = "digits"
    data_path: Path | None = None
    results: Path | None = None
    page: Path | None = None
    jobs: int | None = None
    ray: str | None = None
    format: Literal["text", "json"] = "text"


def lab(names: Sequence[str], options: Options) -> int:
    """List without a name; otherwise run what is missing and tell the verdicts. 1 when a cell failed, 130 when interrupted."""
    from normscope.lab import table
    from normscope.lab.claim import scale_of
    from normscope.lab.data import NAMES, load
    from normscope.lab.running import Source

    if names and options.everything:
        raise NormscopeError("`--all` runs every claim: name claims, or write `--all`, not both.")
    if options.jobs is not None and options.jobs < 1:
        raise NormscopeError(f"`--jobs` must be at least 1; got {options.jobs}.")
    if options.jobs is not None and options.ray is not None:
        raise NormscopeError(
            "`--jobs` counts processes here, `--ray` takes what the cluster has: write one of them."
        )
    scale = scale_of(options.scale)
    claims = table.chosen(names)
    source = Source(options.data, options.data_path, None if scale.name == "full" else 4000)
    runs = bool(names) or options.everything
    if runs or options.data not in NAMES:
        load(source.name, source.path, limit=source.limit)  # says now what is wrong with it
    path = options.results or RESULTS
    if options.page is not None and options.page.is_file():
        raise NormscopeError(
            f"`--page {options.page}` is a file. Name the folder that the page goes into."
        )
    if not runs:
        return _show(claims, _stored(path, options), scale, options)
    check_writable(path)
    from normscope.lab import running
    from normscope.lab.store import Store

    with Store(path) as store:
        code = _run(running.missing(claims, store, scale, source), store, options)
        shown = _show(claims, store, scale, options)
    sys.stderr.write(f"Results: {path}\n")
    return code or shown


def _stored(path: Path, options: Options) -> Store | None:
    """Of a file that was named, or that a page is asked from, it matters that it is there."""
    from normscope.lab.store import Store

    if options.results is None and options.page is None and not path.is_file():
        return None
    return Store(path, create=False)


def _run(tasks: Sequence[Task], store: Store, options: Options) -> int:
    if not tasks:
        return 0
    try:
        failed = _measure(tasks, store, options)
    except KeyboardInterrupt:
        sys.stderr.write(
            "normscope: interrupted; what was measured is kept, and the same command goes on from there.\n"
        )
        return INTERRUPTED
    for done in failed:
        arm = done.task.cell.get("arm")
        sys.stderr.write(f"normscope: {done.task.claim}, arm {arm}: {done.failure}\n")
    return 1 if failed else 0


def _measure(tasks: Sequence[Task], store: Store, options: Options) -> list[Done]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from normscope.lab import running
    from normscope.lab.executing import executor_of
    from normscope.trials.executors.local import cores

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with (
        executor_of(min(options.jobs or cores(), len(tasks)), options.ray) as executor,
        Progress(*columns, console=console, disable=not console.is_terminal) as bars,
    ):
        bar = bars.add_task("starting", total=len(tasks))

        def told(done: Done) -> None:
            bars.update(bar, advance=1, description=f"{done.task.claim:<20}")

        return running.run(tasks, store, executor, told=told)


def _show(claims: Sequence[Claim], store: Store | None, scale: Scale, options: Options) -> int:
    from normscope.lab import page

    entries = page.judged(claims, store, scale, options.data)
    if options.format == "json":
        import msgspec

        data = msgspec.json.encode(page.as_json(entries))
        sys.stdout.write(msgspec.json.format(data).decode() + "\n")
    else:
        _print(entries)
    if options.page is not None:
        for written in page.write(options.page, entries, scale, options.data)[:1]:
            sys.stderr.write(f"Page: {written}\n")
    return 0


def _print(entries: Sequence[Judged]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from normscope.lab.page import line_of

    console = Console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("Claim", "What is said", "Verdict"):
        table.add_column(heading, no_wrap=heading == "Claim")
    for e in entries:
        table.add_row(e.claim.name, Text(e.claim.says), Text(line_of(e)))
    console.print(table)
