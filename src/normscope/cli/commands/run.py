"""`normscope run`: its words and options."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from normscope.cli import COMMANDS
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


@app.command(
    help=f"{COMMANDS['run']}\n\nnormscope run [OPTIONS] script.py [args…]\nnormscope run [OPTIONS] -m module [args…]"
)
def run(
    *command: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    record: Annotated[
        str | None,
        Parameter(help="Where the recording goes; SCRIPT.nscope in this folder by default."),
    ] = None,
    format_: Formats = None,
    output: Outputs = None,
    select: Annotated[Words, Parameter(help=SELECT)] = None,
    ignore: Annotated[Words, Parameter(help=IGNORE)] = None,
    fail_on: Annotated[str | None, Parameter(help=f"{FAIL_ON} By default never.")] = None,
    baseline: Annotated[str | None, Parameter(help=BASELINE)] = None,
    budget: Annotated[
        str | None,
        Parameter(help="Share of the training loop's time that observing may take; 1% by default."),
    ] = None,
    keep_batches: Annotated[
        str | None, Parameter(help="Memory for copies of training inputs; 64MB by default.")
    ] = None,
    steps: Annotated[
        str | None, Parameter(help="Observe so many training steps; the script runs on.")
    ] = None,
) -> int:
    chosen = configured(
        record=record,
        format=format_,
        output=output,
        select=select,
        ignore=ignore,
        fail_on=fail_on,
        baseline=baseline,
        budget=budget,
        keep_batches=keep_batches,
        steps=steps,
    )
    from normscope.cli.running import run_and_diagnose

    return run_and_diagnose(command, chosen)
