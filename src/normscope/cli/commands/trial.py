"""`normscope trial`: its words and options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from normscope.cli import COMMANDS
from normscope.cli.options import FAIL_ON, Formats, Outputs, Words, app, configured


@app.command(
    help=f"{COMMANDS['trial']}\n\nnormscope trial [OPTIONS] script.py [args…]\nnormscope trial [OPTIONS] -m module [args…]"
)
def trial(
    *command: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    arms: Annotated[
        Words,
        Parameter(
            help="What to try, separated by commas: group,layer,instance,renorm,ghost:32,frozen-tail,none,momentum:0.01,batch:64,drop-last,lr:x0.3,wd:x0,random."
        ),
    ] = None,
    seeds: Annotated[
        str, Parameter(help="How many, or which: 5 or 0,1,7; 5 by default.", show_default=False)
    ] = "5",
    metric: Annotated[
        str | None,
        Parameter(
            help='A regular expression for what the script prints, with a group for the number: "accuracy=([0-9.]+)"; the last match counts.'
        ),
    ] = None,
    metric_file: Annotated[
        str | None,
        Parameter(help="A number in a JSON file that it writes: results.json:test.accuracy."),
    ] = None,
    metric_name: Annotated[
        str | None, Parameter(help="What it reports by `normscope.report_metric` under this name.")
    ] = None,
    lower_is_better: Annotated[bool, Parameter(negative="", help="For losses and errors.")] = False,
    jobs: Annotated[
        str,
        Parameter(
            help="How many runs at once, or auto: one for each core; 1 by default.",
            show_default=False,
        ),
    ] = "1",
    ray: Annotated[
        str | None, Parameter(help="Run on a Ray cluster: auto, or its address.")
    ] = None,
    halving: Annotated[
        bool, Parameter(negative="", help="Stop hopeless arms after 2, 4, 8, … seeds.")
    ] = False,
    rerun: Annotated[Words, Parameter(help="Forget the finished runs of this arm.")] = None,
    shared: Annotated[
        Words,
        Parameter(help="A file or folder that runs may share, such as a cache of the data."),
    ] = None,
    record: Annotated[
        Path | None,
        Parameter(
            help="Where finished runs are kept; SCRIPT.trial.nscope in this folder by default."
        ),
    ] = None,
    format_: Formats = None,
    output: Outputs = None,
    fail_on: Annotated[str | None, Parameter(help=f"{FAIL_ON} By default never.")] = None,
) -> int:
    # The recording that `pyproject.toml` names is that of `run`.
    chosen = configured(format=format_, output=output, fail_on=fail_on)
    from normscope.cli.trying import Wish, try_arms

    wish = Wish(
        arms=",".join(arms or ()),
        seeds=seeds,
        metric=(metric, metric_file, metric_name),
        higher_is_better=not lower_is_better,
        jobs=jobs,
        ray=ray,
        halving=halving,
        rerun=tuple(rerun or ()),
        shared=tuple(shared or ()),
        record=record,
    )
    return try_arms(command, wish, chosen)
