"""`normscope check`: its words and options."""

from __future__ import annotations

from pathlib import Path
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
    help=f"{COMMANDS['check']}\n\nnormscope check [OPTIONS] file.py:factory\nnormscope check [OPTIONS] package.module:factory"
)
def check(
    target: Annotated[
        str, Parameter(help="A model, or a function that returns one: file.py:name or module:name.")
    ],
    /,
    *,
    input_: Annotated[
        list[str] | None,
        Parameter(
            name="--input",
            negative="",
            consume_multiple=False,
            show_default=False,
            help="An input's shape, 8,3,224,224 or 8,128:int64; once for each input.",
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        Parameter(help="A checkpoint to put into the model: torch.save or safetensors."),
    ] = None,
    format_: Formats = None,
    output: Outputs = None,
    select: Annotated[Words, Parameter(help=SELECT)] = None,
    ignore: Annotated[Words, Parameter(help=IGNORE)] = None,
    fail_on: Annotated[str | None, Parameter(help=f"{FAIL_ON} By default error.")] = None,
    baseline: Annotated[str | None, Parameter(help=BASELINE)] = None,
    write_baseline: Annotated[
        Path | None, Parameter(help="Write all findings to this file, to be known from now on.")
    ] = None,
) -> int:
    chosen = configured(
        format=format_,
        output=output,
        select=select,
        ignore=ignore,
        fail_on=fail_on,
        baseline=baseline,
    )
    from normscope.cli.checking import check as checked

    return checked(target, input_ or (), chosen, weights=weights, write_baseline=write_baseline)
