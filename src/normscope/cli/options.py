"""The parser, and the options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from normscope import __version__, config

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


def configured(**given: Any) -> config.Config:
    """What was given on the command line over what `pyproject.toml` says."""
    said = {k.replace("_", "-"): v for k, v in given.items() if v is not None}
    base = config.read(Path.cwd())
    if "format" in said or "output" in said:
        # Reports that were asked for here replace those of the file: pairs must not mix.
        base = config.merge(base, {"format": [], "output": []}, where="the command line")
    return config.merge(base, said, where="the command line")
