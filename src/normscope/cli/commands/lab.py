"""`normscope lab`: its words and options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from normscope.cli import COMMANDS
from normscope.cli.options import app


@app.command(
    help=f"{COMMANDS['lab']}\n\nnormscope lab\nnormscope lab [OPTIONS] CLAIM…\nnormscope lab [OPTIONS] --all"
)
def lab(
    *claims: Annotated[str, Parameter(show=False)],
    all_: Annotated[
        bool, Parameter(name="--all", negative="", help="Run every claim that is not measured yet.")
    ] = False,
    scale: Annotated[
        str, Parameter(help="quick or full; quick by default.", show_default=False)
    ] = "quick",
    data: Annotated[
        str,
        Parameter(
            help="digits, mnist, fashion-mnist or cifar10; digits by default.", show_default=False
        ),
    ] = "digits",
    data_path: Annotated[
        Path | None, Parameter(help="The folder that holds the files of the data.")
    ] = None,
    results: Annotated[
        Path | None,
        Parameter(help="Where numbers are kept; normscope-lab.sqlite in this folder by default."),
    ] = None,
    page: Annotated[
        Path | None, Parameter(help="Write lab.md and its plots into this folder.")
    ] = None,
    jobs: Annotated[
        int | None, Parameter(help="So many processes; one per processor by default.")
    ] = None,
    ray: Annotated[
        str | None, Parameter(help="Run on a Ray cluster: auto, or its address.")
    ] = None,
    format_: Annotated[
        Literal["text", "json"], Parameter(name="--format", help="text or json.")
    ] = "text",
) -> int:
    from normscope.cli import lab as laboratory

    options = laboratory.Options(
        everything=all_,
        scale=scale,
        data=data,
        data_path=data_path,
        results=results,
        page=page,
        jobs=jobs,
        ray=ray,
        format=format_,
    )
    return laboratory.lab(claims, options)
