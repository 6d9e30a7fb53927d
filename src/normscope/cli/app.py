"""The commands and their options, as the parser sees them. The work is done elsewhere."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter

from normscope import __version__, config
from normscope.cli import COMMANDS, catalogue, diagnosing
from normscope.cli.arguments import HELP, split_run
from normscope.errors import NormscopeError

app = App(name="normscope", version=__version__, help_format="plaintext")

Words = Annotated[
    list[str] | None, Parameter(negative="", consume_multiple=False, show_default=False)
]
Formats = Annotated[
    list[str] | None,
    Parameter(
        name="--format",
        negative="",
        consume_multiple=False,
        show_default=False,
        help="text, json, html, sarif or github; once for each report that is wanted.",
    ),
]
Outputs = Annotated[
    list[Path] | None,
    Parameter(
        name="--output",
        negative="",
        consume_multiple=False,
        show_default=False,
        help="The file of a format, in the same order.",
    ),
]
SELECT = "Judge only by rules whose code begins so: NS4 or NS401,NS408."
IGNORE = "Leave out rules whose code begins so."
BASELINE = "Known findings, which are not reported: a file that `check --write-baseline` wrote."
FAIL_ON = "Exit with status 1 when a finding is that bad: error, warning or never."
RUN_OPTIONS = (
    "--record",
    "--format",
    "--output",
    "--select",
    "--ignore",
    "--fail-on",
    "--baseline",
    "--budget",
    "--keep-batches",
    "--steps",
)


TRIAL_OPTIONS = (
    "--arms",
    "--seeds",
    "--metric",
    "--metric-file",
    "--metric-name",
    "--jobs",
    "--ray",
    "--rerun",
    "--shared",
    "--record",
    "--format",
    "--output",
    "--fail-on",
)
TRIAL_FLAGS = ("--lower-is-better", "--halving")


def dispatch(words: Sequence[str]) -> int:
    """Parse and run one command line; its exit status. Errors of the user's become one line on stderr."""
    try:
        return _call(words)
    except NormscopeError as error:
        return _complain(str(error))
    except CycloptsError as error:
        return _complain(str(error))
    except KeyboardInterrupt:
        from normscope.session.signals import die_of

        die_of(signal.SIGINT)
        return 128 + signal.SIGINT


def _call(words: Sequence[str]) -> int:
    words = list(words)
    if words[0] not in COMMANDS:
        from normscope.errors import did_you_mean

        raise NormscopeError(
            f"`normscope` has no command `{words[0]}`.{did_you_mean(words[0], COMMANDS)} "
            f"Commands: {', '.join(COMMANDS)}."
        )
    if words[0] in ("run", "trial"):
        kinds = (RUN_OPTIONS, ()) if words[0] == "run" else (TRIAL_OPTIONS, TRIAL_FLAGS)
        ours, command = split_run(words[1:], *kinds, words[0])
        # Behind `--` the parser takes every word as it is.
        words = [words[0], *ours, *([] if ours[-1:] in ([h] for h in HELP) else ["--", *command])]
    code: Any = app(words, exit_on_error=False, print_error=False, result_action="return_value")
    return code or 0


def _complain(message: str) -> int:
    line = " ".join(message.split())
    sys.stderr.write(f"normscope: {line}\n")
    return 2


def _configured(**given: Any) -> config.Config:
    """What was given on the command line over what `pyproject.toml` says."""
    said = {k.replace("_", "-"): v for k, v in given.items() if v is not None}
    base = config.read(Path.cwd())
    if "format" in said or "output" in said:
        # Reports that were asked for here replace those of the file: pairs must not mix.
        base = config.merge(base, {"format": [], "output": []}, where="the command line")
    return config.merge(base, said, where="the command line")


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
    chosen = _configured(
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
    chosen = _configured(
        format=format_,
        output=output,
        select=select,
        ignore=ignore,
        fail_on=fail_on,
        baseline=baseline,
    )
    from normscope.cli.checking import check as checked

    return checked(target, input_ or (), chosen, weights=weights, write_baseline=write_baseline)


@app.command(
    help=f"{COMMANDS['probe']}\n\nnormscope probe [OPTIONS] [NAME…] file.py:setup\n\n"
    "`setup()` returns a dict or a dataclass with `model` and `train`, and if it can `held_out`, `loss`, `metric`, `forward`, `target`."
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
    chosen = _configured(
        record=record,
        format=format_,
        output=output,
        select=select,
        ignore=ignore,
        fail_on=fail_on,
        baseline=baseline,
    )
    return probing.probe(words, chosen, seconds=seconds)


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
    chosen = _configured(format=format_, output=output, fail_on=fail_on)
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


@app.command(help=COMMANDS["report"])
def report(
    file: Annotated[str, Parameter(help="The recording, as `normscope run` wrote it.")],
    /,
    *,
    format_: Formats = None,
    output: Outputs = None,
    select: Annotated[Words, Parameter(help=SELECT)] = None,
    ignore: Annotated[Words, Parameter(help=IGNORE)] = None,
    fail_on: Annotated[str | None, Parameter(help=f"{FAIL_ON} By default error.")] = None,
    baseline: Annotated[str | None, Parameter(help=BASELINE)] = None,
) -> int:
    chosen = _configured(
        format=format_,
        output=output,
        select=select,
        ignore=ignore,
        fail_on=fail_on,
        baseline=baseline,
    )
    return diagnosing.report(Path(file), chosen)


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
    chosen = _configured(
        format=format_, output=output, select=select, ignore=ignore, fail_on=fail_on
    )
    return diagnosing.compare(Path(before), Path(after), chosen)


@app.command(
    help=f"{COMMANDS['repair']}\n\nnormscope repair [OPTIONS] NAME file.py:setup -o weights.safetensors\nnormscope repair advice train.nscope [--write]\nnormscope repair --list"
)
def repair(
    name: Annotated[str | None, Parameter(help="Its name.", show_default=False)] = None,
    target: Annotated[
        str | None,
        Parameter(
            help="A function that returns {'model': …, 'train': loader, 'loss': …}: file.py:name or module:name. Of `advice` the recording.",
            show_default=False,
        ),
    ] = None,
    /,
    *,
    output: Annotated[
        Path | None,
        Parameter(
            name=["--output", "-o"],
            help="The repaired weights, .safetensors or .pt; the certificate goes beside them as .certificate.json. Of `advice` the patch.",
            show_default=False,
        ),
    ] = None,
    list_: Annotated[bool, Parameter(name="--list", negative="", help="List the repairs.")] = False,
    samples: Annotated[
        int | None,
        Parameter(
            help="recalibrate: at most about so many samples, 0 for the whole loader; 10000 by default.",
            show_default=False,
        ),
    ] = None,
    exact: Annotated[
        bool, Parameter(negative="", help="recalibrate: layer by layer, a pass for each.")
    ] = False,
    keep: Annotated[
        Literal["always", "better"] | None,
        Parameter(
            help="recalibrate: `better` takes it back unless the loss falls beyond its noise.",
            show_default=False,
        ),
    ] = None,
    layers: Annotated[
        Words, Parameter(help="Only the layers whose path is, or begins with, this.")
    ] = None,
    momentum: Annotated[
        float | None,
        Parameter(help="set-momentum: the weight of a new batch.", show_default=False),
    ] = None,
    batch_factor: Annotated[
        float | None,
        Parameter(
            help="set-momentum: how many times larger the batch becomes; the window stays.",
            show_default=False,
        ),
    ] = None,
    groups: Annotated[
        int | None,
        Parameter(help="convert-group: at most so many groups, 32 by default.", show_default=False),
    ] = None,
    ghost_size: Annotated[
        int | None,
        Parameter(
            help="convert-ghost: samples whose statistics are taken together, 32 by default.",
            show_default=False,
        ),
    ] = None,
    domains: Annotated[
        int | None,
        Parameter(help="convert-domain: how many, 2 by default.", show_default=False),
    ] = None,
    calibrated: Annotated[
        bool,
        Parameter(
            negative="", help="convert-…: keep the scale of each layer's output on the first batch."
        ),
    ] = False,
    frozen: Annotated[Words, Parameter(help="recalibrate: leave these layers alone.")] = None,
    code: Annotated[Words, Parameter(help="advice: only for findings of this code.")] = None,
    write: Annotated[
        bool, Parameter(negative="", help="advice: change the files, not only show how.")
    ] = False,
) -> int:
    if name == "advice":
        from normscope.cli import advising

        return advising.advise(target, code or (), output, _configured(), apply=write)
    from normscope.cli import repairing

    if list_:
        return repairing.list_repairs()
    options = {
        "samples": samples,
        "exact": exact or None,
        "keep": keep,
        "layers": layers,
        "frozen": frozen,
        "momentum": momentum,
        "batch_factor": batch_factor,
        "groups": groups,
        "ghost_size": ghost_size,
        "domains": domains,
        "calibrated": calibrated or None,
    }
    given = {k: v for k, v in options.items() if v is not None}
    return repairing.repair(name, target, output, given)


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
        format=format_,
    )
    return laboratory.lab(claims, options)


@app.command(help=COMMANDS["demo"])
def demo(
    *,
    output: Annotated[
        str | None, Parameter(help="The folder for its files.", show_default=False)
    ] = None,
) -> int:
    from normscope.demo import main

    return main(Path(os.path.abspath(output)) if output else None)
