"""`normscope rules` and `normscope explain`: its words and options."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from normscope.cli import COMMANDS, catalogue
from normscope.cli.options import app


@app.command(help=COMMANDS["rules"])
def rules(
    *,
    format_: Annotated[
        Literal["text", "json"], Parameter(name="--format", help="text or json.")
    ] = "text",
) -> int:
    return catalogue.list_rules(as_json=format_ == "json")


@app.command(help=COMMANDS["explain"])
def explain(code: Annotated[str, Parameter(help="Its code or its name.")], /) -> int:
    return catalogue.explain(code)
