"""`normscope demo`: its words and options."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from normscope.cli import COMMANDS
from normscope.cli.options import app


@app.command(help=COMMANDS["demo"])
def demo(
    *,
    output: Annotated[
        str | None, Parameter(help="The folder for its files.", show_default=False)
    ] = None,
) -> int:
    from normscope.demo import main

    return main(Path(os.path.abspath(output)) if output else None)
