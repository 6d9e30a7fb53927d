"""`check` on every model of `keras.applications`: random weights, the model's own input size, 8 samples.

    KERAS_BACKEND=torch python benchmarks/keras_zoo.py --write     # about ten minutes on one core

A crash fails; so does a warning or an error, as these architectures are known to train. With `--write` the table goes to
benchmarks/keras_zoo.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras

import normscope
from normscope.errors import NormscopeError

PAGE = Path(__file__).with_suffix(".md")
MARK = "<!-- written by keras_zoo.py -->"
HEADER = "| model | parameters (M) | norms | built (s) | checked (s) | findings | not understood |\n|---|---|---|---|---|---|---|"


def row(name: str) -> tuple[str, bool]:
    """One line of the table, and whether it is as it should be."""
    keras.utils.clear_session()
    begun = time.perf_counter()
    try:
        model = getattr(keras.applications, name)(weights=None)
    except ValueError as error:
        return f"| {name} | | | | | not asked: {str(error).split('.')[0]} | |", True
    built = time.perf_counter() - begun
    begun = time.perf_counter()
    try:
        diagnosis = normscope.check(model)
    except NormscopeError as error:
        return f"| {name} | | | {built:.1f} | | **{error}** | |", False
    took = time.perf_counter() - begun
    codes: dict[str, int] = {}
    for f in diagnosis.findings:
        word = f"{f.code} {f.severity}"
        codes[word] = codes.get(word, 0) + 1
    told = ", ".join(f"{n} × {word}" if n > 1 else word for word, n in codes.items()) or "none"
    good = all(f.severity == "info" for f in diagnosis.findings)
    unknown = ", ".join(diagnosis.coverage.opaque_operations) or "nothing"
    if diagnosis.coverage.notes or diagnosis.coverage.unobserved_layers:
        unknown += (
            " **"
            + "; ".join((*diagnosis.coverage.notes, *diagnosis.coverage.unobserved_layers[:3]))
            + "**"
        )
    [record] = diagnosis.recording.models.values()
    facts = f"{record.parameters / 1e6:.1f} | {record.norm_layers} | {built:.1f} | {took:.1f}"
    return f"| {name} | {facts} | {told} | {unknown} |", good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="names that contain this")
    parser.add_argument("--write", action="store_true", help="write the table to keras_zoo.md")
    options = parser.parse_args()
    names = [n for n in dir(keras.applications) if n[0].isupper() and options.only in n]
    rows, good = [], True
    for name in names:
        line, fine = row(name)
        rows.append(line)
        good = good and fine
        print(line, flush=True)
    if options.write:
        about = f"keras {keras.__version__} on {keras.config.backend()}, {len(rows)} models."
        head = PAGE.read_text(encoding="utf-8").split(MARK)[0] if PAGE.exists() else ""
        table = "\n".join((HEADER, *rows))
        PAGE.write_text(f"{head}{MARK}\n\n{about}\n\n{table}\n", encoding="utf-8")
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
