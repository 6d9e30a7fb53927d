"""One command line: split where words belong to a script, parsed, run; errors of the user's become one line."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from cyclopts import CycloptsError

from normscope.cli import COMMANDS
from normscope.cli.arguments import HELP, split_run
from normscope.cli.options import app
from normscope.errors import NormscopeError

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
HOMES = {
    "report": "reports",
    "compare": "reports",
    "compare-ports": "ports",
    "explain": "rules",
}  # the others have a file of their own name


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
    import_module(f"normscope.cli.commands.{HOMES.get(words[0], words[0])}")
    code: Any = app(words, exit_on_error=False, print_error=False, result_action="return_value")
    return code or 0


def _complain(message: str) -> int:
    line = " ".join(message.split())
    sys.stderr.write(f"normscope: {line}\n")
    return 2
