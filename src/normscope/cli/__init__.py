"""The command line: it parses and prints, and computes nothing.

This file answers `--help` and `--version` by itself, so that they cost no import of the parser.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from normscope import __version__

COMMANDS = {
    "run": "Observe your unmodified training script, then diagnose it. The main job.",
    "check": "Judge a model by its code alone: no training, no data.",
    "probe": "Ask a trained model and its data: where a train-evaluation gap comes from, and more.",
    "trial": "Run your script once per arm and seed: what does a remedy do on your task?",
    "lab": "List or run what is said about batch normalization, as experiments.",
    "report": "Rebuild the report of a recording.",
    "compare": "Tell what a change did, from the recordings before and after it.",
    "compare-ports": "Compare the norm layers of a PyTorch model and its port to Keras.",
    "repair": "Apply a repair to a trained model; write the weights and a certificate.",
    "rules": "List the rules.",
    "explain": "Explain one rule: what it checks, why it matters, how to repair.",
    "demo": "Show a failing example, its diagnosis, the repair and the proof.",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status of the command line `arguments` (default: the process's own)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if not words or words[0] in ("-h", "--help"):
            sys.stdout.write(overview())
            sys.stdout.flush()
            return 0
        if words[0] == "--version":
            sys.stdout.write(f"normscope {__version__}\n")
            return 0
        from normscope.cli.app import dispatch

        code = dispatch(words)
        if sys.stdout:  # None where we were started with it closed
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader of our output went away; Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def overview() -> str:
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:<{width}}  {what}" for name, what in COMMANDS.items())
    return f"""\
normscope {__version__}: a doctor for the normalization layers of deep networks.

  normscope run [options] script.py [args…]
  normscope run [options] -m module [args…]
  normscope check [options] file.py:factory
  normscope trial [options] script.py [args…]

Commands
{listed}

Everything after the script belongs to the script. `normscope COMMAND --help` tells a command's options.
Options can stand in `pyproject.toml`, too, under [tool.normscope].
"""
