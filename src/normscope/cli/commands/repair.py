"""`normscope repair`: its words and options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from normscope.cli import COMMANDS
from normscope.cli.options import Words, app, configured


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
        Parameter(
            help="convert-group: at most so many groups; by default 32, of 8 channels or more.",
            show_default=False,
        ),
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
    fixed_affine: Annotated[
        bool,
        Parameter(negative="", help="freeze-batchnorm: scale and shift do not learn on, either."),
    ] = False,
    frozen: Annotated[Words, Parameter(help="recalibrate: leave these layers alone.")] = None,
    code: Annotated[Words, Parameter(help="advice: only for findings of this code.")] = None,
    write: Annotated[
        bool, Parameter(negative="", help="advice: change the files, not only show how.")
    ] = False,
) -> int:
    if name == "advice":
        from normscope.cli import advising

        return advising.advise(target, code or (), output, configured(), apply=write)
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
        "fixed_affine": fixed_affine or None,
    }
    given = {k: v for k, v in options.items() if v is not None}
    return repairing.repair(name, target, output, given)
