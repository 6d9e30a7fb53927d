"""False alarms on healthy runs: many short variations of each kind in `calibration_kinds.py`, all rules asked about each.

Seeds are numbers 0, 1, …: a row can be run again. The bound on the rate is the one-sided 95 % limit of Clopper and Pearson.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import torch
from calibration_kinds import KINDS
from scipy.stats import beta

from normscope import live
from normscope.diagnosis import Diagnosis
from normscope.probes.observations import Padding, Signal

HERE = Path(__file__).parent
MARK = "<!-- figures: everything below is written by benchmarks/calibration.py --write -->\n"


@dataclass
class Tally:
    """What the runs of one kind gave: models in which a code was blamed or named, and the largest value of each reading."""

    runs: int = 0
    blamed: Counter[str] = field(default_factory=Counter)
    remarks: Counter[str] = field(default_factory=Counter)
    readings: dict[str, list[float]] = field(default_factory=dict)

    def add(self, diagnosis: Diagnosis) -> None:
        self.runs += 1
        worst = {f.code: f.severity for f in diagnosis.findings if f.severity == "info"}
        worst |= {f.code: f.severity for f in diagnosis.findings if f.severity != "info"}
        for code, severity in worst.items():
            (self.remarks if severity == "info" else self.blamed)[code] += 1
        for name, value in readings(diagnosis).items():
            self.readings.setdefault(name, []).append(value)


def readings(diagnosis: Diagnosis) -> dict[str, float]:
    """The largest value in the run of what a rule holds against its threshold."""
    found: dict[str, list[float]] = {}
    for answer in diagnosis.recording.measurements.get("signal", []):
        if isinstance(answer, Signal):
            found["NS503 share of dead channels"] = [c.silent - c.faded for c in answer.channels]
            found["NS506 share of saturated values"] = [a.saturated for a in answer.activations]
            found["NS506 share of stuck units"] = [a.stuck for a in answer.activations]
    for answer in diagnosis.recording.measurements.get("padding", []):
        if isinstance(answer, Padding):
            found["NS306 share of padding"] = [answer.share]
            found["NS306 shift, in sd"] = [x.shift for x in answer.layers]
            found["NS306 factor of the variance"] = [
                max(x.ratio, 1 / x.ratio) for x in answer.layers
            ]
    return {name: max(values) for name, values in found.items() if values and max(values) > 0}


def bound(alarms: int, runs: int) -> float:
    """The rate of alarms is below it with 95 % confidence."""
    return 1.0 if alarms == runs else float(beta.ppf(0.95, alarms + 1, runs - alarms))


def measure(kind: str, runs: int) -> Tally:
    tally = Tally()
    for seed in range(runs):
        torch.manual_seed(seed)
        model, run = KINDS[kind](random.Random(seed))
        with tempfile.TemporaryDirectory() as folder:
            with live.watch(model, record=Path(folder) / "run.nscope", budget=1.0) as watched:
                run()
            told = watched.diagnose()
        tally.add(told)
        if told.verdict.primary:
            print(
                f"{kind} {seed}: {told.verdict.primary} {told.verdict.summary}",
                file=sys.stderr,
                flush=True,
            )
    return tally


def lines(kind: str, tally: Tally) -> list[str]:
    runs = tally.runs
    alarms = ", ".join(f"{code} {n}" for code, n in sorted(tally.blamed.items())) or "none"
    remarks = ", ".join(f"{code} {n}" for code, n in sorted(tally.remarks.items())) or "none"
    any_ = max(tally.blamed.values(), default=0)
    made = [f"| {kind} | {runs} | {alarms} | {bound(any_, runs):.1%} | {remarks} |"]
    for name, values in sorted(tally.readings.items()):
        values = sorted(values)
        middle, high = values[len(values) // 2], values[-1]
        made.append(
            f"- {kind}, {name}: {len(values)} runs above 0, median {middle:.3g}, largest {high:.3g}"
        )
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=60, help="of each kind")
    parser.add_argument("--only", choices=KINDS)
    parser.add_argument("--write", action="store_true", help="write benchmarks/calibration.md")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = [
        "| kind | runs | warnings and errors | a rule's rate is below | remarks |",
        "|---|---|---|---|---|",
    ]
    notes: list[str] = []
    for kind in [given.only] if given.only else KINDS:
        row, *more = lines(kind, measure(kind, given.runs))
        rows.append(row)
        notes += more
        print("\n".join([row, *more]), flush=True)
    if given.write:
        page = HERE / "calibration.md"
        head, _, before = page.read_text().partition(MARK) if page.exists() else ("", "", "")
        if given.only:  # figures of the other kinds stay
            rows += _of_others(before, "| ", given.only)[2:]
            notes += _of_others(before, "- ", given.only)
        page.write_text(head + MARK + "\n" + "\n".join(rows) + "\n\n" + "\n".join(notes) + "\n")


def _of_others(figures: str, mark: str, kind: str) -> list[str]:
    """The lines that begin with `mark`, but those of this kind. A table's first two are its head."""
    lines = [x for x in figures.splitlines() if x.startswith(("|", "-")) and x[0] == mark[0]]
    return [x for x in lines if not x.startswith((f"{mark}{kind} ", f"{mark}{kind},"))]


if __name__ == "__main__":
    main()
