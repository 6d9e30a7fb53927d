"""`normscope probe`: its words and options."""

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
    help=f"{COMMANDS['probe']}\n\nnormscope probe [OPTIONS] [NAME…] file.py:setup\n\n"
    "`setup()` returns a dict or a dataclass with `model` and `train`, and if it can `held_out`, `domains`, `loss`, `metric`, `forward`, `target`, `optimizer`, `weight_decay`."
)
def probe(
    *words: Annotated[str, Parameter(show=False)],
    list_: Annotated[
        bool, Parameter(name="--list", negative="", help="List the probes and what they answer.")
    ] = False,
    seconds: Annotated[
        float,
        Parameter(help="About how long each probe may take; 60 by default.", show_default=False),
    ] = 60.0,
    record: Annotated[
        str | None,
        Parameter(help="Where the answers are kept; FILE.nscope in this folder by default."),
    ] = None,
    format_: Formats = None,
    output: Outputs = None,
    select: Annotated[Words, Parameter(help=SELECT)] = None,
    ignore: Annotated[Words, Parameter(help=IGNORE)] = None,
    fail_on: Annotated[str | None, Parameter(help=f"{FAIL_ON} By default error.")] = None,
    baseline: Annotated[str | None, Parameter(help=BASELINE)] = None,
) -> int:
    from normscope.cli import probing

    if list_:
        return probing.list_probes()
    chosen = configured(
        record=record,
        format=format_,
        output=output,
        select=select,
        ignore=ignore,
        fail_on=fail_on,
        baseline=baseline,
    )
    return probing.probe(words, chosen, seconds=seconds)
