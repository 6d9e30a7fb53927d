"""`python -m tests.twins.backends jax [--only NAME]`: the twins of Keras, each under `normscope run` in a process of its own.

A backend is chosen once in a process, and neither TensorFlow nor JAX survives a fork. With `--results FILE` it goes on
where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from .cases import HERE, Case, keras_cases
from .runner import explain, right, table
from .warm import Outcome

BACKENDS = ("torch", "jax", "tensorflow")
NORMSCOPE = "import sys; from normscope.cli import main; sys.exit(main())"


def run(case: Case, backend: str) -> Outcome:
    """What the command says of one script."""
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "OMP_NUM_THREADS": "1",
    }
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-c", NORMSCOPE, "run", "--budget", "100%"]
        command += ["--format", "json", "--output", str(report), str(case.path)]
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, env=environment
        )
        if done.returncode or not report.exists():
            return Outcome(str(case.path), printed=done.stdout, error=done.stderr or "no report")
        told = json.loads(report.read_text(encoding="utf-8"))
    broken = [n for n in told["coverage"]["notes"] if n.startswith("observer-error")]
    if broken:  # a verdict on half a run may be right by chance
        return Outcome(str(case.path), printed=done.stdout, error=broken[0])
    status, findings = told["verdict"]["status"], told["findings"]
    return Outcome(str(case.path), status, findings, done.stdout)


def outcomes(
    chosen: Sequence[Case], backend: str, file: Path | None = None
) -> Iterator[tuple[Case, Outcome]]:
    known: dict[str, Outcome] = {}
    if file is not None and file.exists():
        for line in file.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            if entry["backend"] == backend:
                known[entry["name"]] = Outcome(**entry["outcome"])
    for case in chosen:
        outcome = known.get(case.name) or run(case, backend)
        if file is not None and case.name not in known:
            values = {name: getattr(outcome, name) for name in Outcome.__slots__}
            entry = {"name": case.name, "backend": backend, "outcome": values}
            with file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(entry) + "\n")
        yield case, outcome


def _backend(word: str) -> str:
    # Not `choices`: argparse would ask whether the default, a list, is among them.
    if word not in BACKENDS:
        raise argparse.ArgumentTypeError(f"{word} was given; expected {', '.join(BACKENDS)}")
    return word


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.twins.backends", description=__doc__)
    parser.add_argument("backend", nargs="*", type=_backend, default=list(BACKENDS))
    parser.add_argument("--only", default="", help="a part of the name of a pair or script")
    parser.add_argument("--results", type=Path, help="a line for each script; those in it stay")
    options = parser.parse_args(argv)
    every: list[tuple[Case, Outcome]] = []
    for backend in options.backend:
        results = list(outcomes(keras_cases(backend, options.only), backend, options.results))
        every += results
        wrong = [(c, o) for c, o in results if not right(c, o)]
        print(f"{backend}: {len(results) - len(wrong)} of {len(results)} right", flush=True)
        for case, outcome in wrong:
            print(explain(case, outcome), flush=True)
    print(table(every))
    return 0 if all(right(c, o) for c, o in every) else 1


if __name__ == "__main__":
    os.chdir(HERE.parents[1])
    sys.exit(main())
