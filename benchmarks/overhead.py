"""What observing costs: the summed time of the loop with and without it, paired and interleaved.

A pair is one process per arm, alive at the same time. They take turns, a short block of steps each, in an order that
changes from round to round, so that whatever else the machine does falls on all arms alike. Ratios are those of summed
block times; the table gives the median and the quartiles over the pairs.

Two processes that do the same differ by where their memory lies. So an observed process is compared with itself: each of its blocks
has another one beside it, before or after, for which everything that observes is taken away. Two
processes that nothing ever observed stand beside them, and say how much is chance in a comparison between processes.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from time import perf_counter

from worker import WARM_UP

from normscope.record.store import load

HERE = Path(__file__).resolve().parent
# Steps in a block, and rounds, an even number: half a second a block and more, and half a minute of training at the least.
PLAN = {
    "MLP 32-64-10": (2000, 72),
    "MLP 784-256-10": (500, 72),
    "CNN 32×32": (20, 24),
    "ResNet-18 64×64": (6, 30),
    "ResNet-50 64×64": (8, 12),
}
ARMS = {"unobserved": None, "again": None, "default": "1%", "unbounded": "100000000000%"}
HEAD = (
    "| model | step | loop | pairs | observed | of it, the first third | unbounded | between processes | unobserved twice | start-up |",
    "|---|---|---|---|---|---|---|---|---|---|",
)
MARK = "<!-- figures: everything below is written by benchmarks/overhead.py --write -->"
NORMSCOPE = "import sys; from normscope.cli import main; sys.exit(main())"


@dataclass
class Arm:
    """One process, and what it took: seconds until ready, wall and processor seconds of all its blocks, blocks' steps.

    `on` and `off` are the processor seconds of each block, and of the one beside it without observation.
    """

    process: subprocess.Popen[str]
    ready: float = 0.0
    wall: float = 0.0
    cpu: float = 0.0
    steps: int = 0
    on: list[float] = field(default_factory=list)
    off: list[float] = field(default_factory=list)

    def block(self, steps: int) -> None:
        wall, cpu = map(float, self.ask(str(steps)).split())
        self.wall += wall
        self.cpu += cpu
        self.steps += steps
        self.on.append(cpu)

    def block_off(self, steps: int) -> None:
        self.off.append(float(self.ask(f"{steps} off").split()[1]))

    def ratio(self, blocks: int | None = None) -> float:
        """What the first blocks took with observation, by what they took without."""
        return sum(self.on[:blocks]) / sum(self.off[:blocks])

    def ask(self, line: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"A worker ended early with status {self.process.wait()}.")
        return line


def started(model: str, budget: str | None, record: Path) -> Arm:
    command = [sys.executable]
    if budget is not None:
        command += ["-c", NORMSCOPE, "run", "--record", str(record), "--budget", budget]
    began = perf_counter()
    process = subprocess.Popen(
        [*command, str(HERE / "worker.py"), model],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    arm = Arm(process)
    if arm.answer() != "ready\n":
        raise SystemExit("A worker said something else than `ready`.")
    arm.ready = perf_counter() - began
    return arm


def pair(model: str, seed: int, folder: Path) -> dict[str, Arm]:
    """One process per arm, run in turns."""
    steps, rounds = PLAN[model]
    order = random.Random(seed)
    names = list(ARMS)
    order.shuffle(names)  # who starts first pays for cold files
    arms = {name: started(model, ARMS[name], folder / f"{name}.nscope") for name in names}
    for round_ in range(rounds):
        order.shuffle(names)
        for name in names:
            turns = [arms[name].block]
            if ARMS[name] is not None:
                # By turns, for the first block after a wait is slower, by more than what is looked for.
                turns.insert((seed + round_) % 2, arms[name].block_off)
            for turn in turns:
                turn(steps)
    for name, arm in arms.items():
        arm.process.communicate()
        if ARMS[name] is not None:
            seen_to_the_end(folder / f"{name}.nscope", WARM_UP + steps * rounds)
    return arms


def seen_to_the_end(record: Path, steps: int) -> None:
    """An observer that stopped early would cost nothing."""
    recording = load(record)
    errors = [e.detail for e in recording.events_of("observer-error")]
    if errors or recording.steps != steps:
        raise SystemExit(f"Observed {recording.steps} steps of {steps}: {errors}")


def spread(values: list[float], digits: int = 3) -> str:
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def row(model: str, pairs: list[dict[str, Arm]]) -> str:
    bare = [(p["unobserved"], p["again"]) for p in pairs]
    wall = [mean(a.wall for a in two) for two in bare]
    steps, rounds = PLAN[model]
    step = statistics.median(w / (steps * rounds) for w in wall)
    start = [p["default"].ready - p["unobserved"].ready for p in pairs]
    cells = [
        model,
        f"{1000 * step:.2f} ms",
        f"{steps * rounds} steps, {statistics.median(wall):.0f} s",
        str(len(pairs)),
        f"**{spread([p['default'].ratio() for p in pairs])}**",
        spread([p["default"].ratio(rounds // 6 * 2) for p in pairs]),
        spread([p["unbounded"].ratio() for p in pairs]),
        spread(
            [
                p["default"].cpu / mean(a.cpu for a in two)
                for p, two in zip(pairs, bare, strict=True)
            ]
        ),
        spread([again.cpu / once.cpu for once, again in bare]),
        spread(start, 2) + " s",
    ]
    return "| " + " | ".join(cells) + " |"


def conditions() -> str:
    """Where and with what the figures were taken."""
    return (
        f"Python {platform.python_version()}, PyTorch {version('torch')}, normscope {version('normscope')}, "
        f"{platform.system()} on {platform.machine()} with {os.cpu_count()} processors."
    )


def write(rows: dict[str, str]) -> None:
    """Put the rows into the page's table; those of other models stay."""
    page = HERE / "README.md"
    kept, mark, table = page.read_text(encoding="utf-8").partition(MARK)
    for line in table.splitlines():
        name = line.strip("| ").partition(" | ")[0]
        if name in PLAN:
            rows.setdefault(name, line)
    lines = [conditions(), "", *HEAD, *(rows[model] for model in PLAN if model in rows)]
    page.write_text(f"{kept}{mark}\n\n" + "\n".join(lines) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3, help="processes per arm (default 3)")
    parser.add_argument("--only", help="models whose name holds this")
    parser.add_argument("--write", action="store_true", help="put the figures into README.md")
    options = parser.parse_args()
    if options.pairs < 2:
        parser.error("--pairs must be at least 2: one pair has no spread")
    chosen = [m for m in PLAN if not options.only or options.only.lower() in m.lower()]
    if not chosen:
        parser.error(f"--only {options.only}: no such model; there are {', '.join(PLAN)}")
    print("\n".join([conditions(), "", *HEAD]))
    rows: dict[str, str] = {}
    for model in chosen:
        with tempfile.TemporaryDirectory() as folder:
            pairs = [pair(model, seed, Path(folder)) for seed in range(options.pairs)]
        rows[model] = row(model, pairs)
        print(rows[model], flush=True)
        if options.write:
            write(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
