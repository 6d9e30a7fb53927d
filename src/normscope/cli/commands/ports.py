"""`normscope compare-ports`: its words and options."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from normscope.cli import COMMANDS
from normscope.cli.options import FAIL_ON, Formats, Outputs, app, configured


@app.command(
    name="compare-ports",
    help=f"{COMMANDS['compare-ports']}\n\nnormscope compare-ports [OPTIONS] file.py:setup",
)
def compare_ports(
    target: Annotated[
        str,
        Parameter(
            help="A function, file.py:name or module:name, that returns a dict with the models `torch` and `keras`, or the two in this order."
        ),
    ],
    /,
    *,
    format_: Formats = None,
    output: Outputs = None,
    fail_on: Annotated[str | None, Parameter(help=f"{FAIL_ON} By default error.")] = None,
) -> int:
    chosen = configured(format=format_, output=output, fail_on=fail_on)
    from normscope.cli.porting import compare_ports as compared

    return compared(target, chosen)
