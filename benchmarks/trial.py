"""How often a trial calls nothing something: the same script against itself, with seeds that differ.

Each A/A trial runs examples/digits/healthy.py unchanged with seeds of its own, half of them as one arm and half as another, and compares them in
pairs as arms are compared: any "better" or "worse" is false.
"""

from __future__ import annotations

import argparse
import re
import runpy
import sys
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path

import torch

from normscope.trials.arms import AS_IS, Arm
from normscope.trials.comparison import compared
from normscope.trials.functions import run_once

SCRIPT = Path(__file__).parents[1] / "examples" / "digits" / "healthy.py"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=5, help="pairs in each trial")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument(
        "--record", type=Path, help="keep the runs here, and go on with those that are there"
    )
    parser.add_argument("--script", type=Path, default=SCRIPT)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    false = 0
    for number in range(options.trials):
        table: dict[str, dict[int, float]] = {"one": {}, "two": {}}
        for k in range(2 * options.seeds):
            seed = 2 * options.seeds * number + k
            run = run_once(partial(accuracy, options.script), Arm(AS_IS), seed)
            if run.metric is None:
                raise SystemExit(f"seed {seed}: {run.reason}")
            table["one" if k % 2 else "two"][k // 2] = run.metric
        [c] = compared(table, "one")
        false += c.outcome in ("better", "worse")
        print(
            f"{number + 1:3d}: {c.difference:+.4f} ({c.low:+.4f} to {c.high:+.4f}) {c.outcome}",
            flush=True,
        )
    print(
        f"{false} of {options.trials} trials of the script against itself were called significant."
    )
    return 0


def accuracy(script: Path) -> float:
    """Run the script in this process; the last accuracy that it prints."""
    printed = StringIO()
    with redirect_stdout(printed):
        runpy.run_path(str(script), run_name="__main__")
    return float(re.findall(r"accuracy ([0-9.]+)", printed.getvalue())[-1])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
