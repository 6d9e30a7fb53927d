"""A process of the lab: reads cells from its input, measures them, and writes what came of each on its output."""

from __future__ import annotations

import os
import pickle
import sys

from normscope.lab.running import measured
from normscope.trials.child import end_with_parent


def main() -> None:
    end_with_parent()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
    while True:
        try:
            task = pickle.load(sys.stdin.buffer)
        except EOFError:  # nothing more to do
            return
        pickle.dump(measured(task), answers)
        answers.flush()


if __name__ == "__main__":
    main()
