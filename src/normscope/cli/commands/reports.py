"""`normscope report` and `normscope compare`: its words and options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from normscope.cli import COMMANDS, diagnosing
from normscope.cli.options import (
    BASELINE,
    FAIL_ON,
    IGNORE,
    SELECT,
    Formats,
    Outputs,
    Words,
    app,
    configured,
)


@app.command(help=COMMANDS["report"])
def report(
    file: Annotated[
        str, Parameter(help="The recording, as `normscope run` or `normscope trial` wrote it.")
    ],
    /,
    *,
    format_: Formats = None,
    output: Outputs = None,
    select: Annotated[Words, Parameter(help=SELECT)] = None,
    ignore: Annotated[Words, Parameter(help=IGNORE)] = None,
    fail_on: Annotated[str | None, Parameter(help=f"{FAIL_ON} By default error.")] = None,
    baseline: Annotated[str | None, Parameter(help=BASELINE)] = None,
) -> int:
    chosen = configured(
        format=format_,
        output=output,
        select=select,
        ignore=ignore,
        fail_on=fail_on,
        baseline=baseline,
    )
    from normscope.cli import tried
    from normscope.trials.store import is_trial

    of_trial = is_trial(Path(file))
    return (tried if of_trial else diagnosing).report(Path(file), chosen)


@app.command(help=COMMANDS["compare"])
def compare(
    before: Annotated[str, Parameter(help="The recording before the change.")],
    after: Annotated[str, Parameter(help="The recording after it.")],
    /,
    *,
    format_: Formats = None,
    output: Outputs = None,
    select: Annotated[Words, Parameter(help=SELECT)] = None,
    ignore: Annotated[Words, Parameter(help=IGNORE)] = None,
    fail_on: Annotated[
        str | None,
        Parameter(help="Exit with status 1 when a new finding is that bad. By default error."),
    ] = None,
) -> int:
    chosen = configured(
        format=format_, output=output, select=select, ignore=ignore, fail_on=fail_on
    )
    return diagnosing.compare(Path(before), Path(after), chosen)
