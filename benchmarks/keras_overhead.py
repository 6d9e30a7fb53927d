"""What observing Keras' `fit` costs on each backend: summed time with and without it, paired and interleaved.

As in `overhead.py`: a pair is one process per arm, alive at the same time, that take turns in an order which changes from
round to round; its ratio is that of summed block times. The table gives the median and the quartiles over the pairs.
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
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter

from keras_worker import STEPS
from overhead import NORMSCOPE, Arm, seen_to_the_end, spread

HERE = Path(__file__).resolve().parent
BACKENDS = ("torch", "jax", "tensorflow")
PLAN = {"MLP 32-64-10": (1, 12), "CNN 32×32": (1, 12)}  # epochs in a block, and rounds
ARMS = {"unobserved": None, "default": "1%"}
HEAD = (
    "| backend | model | step | wall | processor | start-up |",
    "|---|---|---|---|---|---|",
)


def started(model: str, backend: str, budget: str | None, record: Path) -> Arm:
    command = [sys.executable]
    if budget is not None:
        command += ["-c", NORMSCOPE, "run", "--record", str(record), "--budget", budget]
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "OMP_NUM_THREADS": "1",
        "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    }
    began = perf_counter()
    process = subprocess.Popen(
        [*command, str(HERE / "keras_worker.py"), model],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    arm = Arm(process)
    if arm.answer() != "ready\n":
        raise SystemExit("A worker said something else than `ready`.")
    arm.ready = perf_counter() - began
    return arm


def pair(model: str, backend: str, seed: int, folder: Path) -> dict[str, Arm]:
    """One process per arm, run in turns."""
    epochs, rounds = PLAN[model]
    order = random.Random(seed)
    names = list(ARMS)
    order.shuffle(names)  # who starts first pays for cold files
    arms = {name: started(model, backend, ARMS[name], folder / f"{name}.nscope") for name in names}
    for _ in range(rounds):
        order.shuffle(names)
        for name in names:
            arms[name].block(epochs)
            arms[name].steps += epochs * (STEPS[model] - 1)
    for name, arm in arms.items():
        arm.process.communicate()
        if ARMS[name] is not None:
            seen_to_the_end(folder / f"{name}.nscope", STEPS[model] * (1 + epochs * rounds))
    return arms


def row(model: str, backend: str, pairs: list[dict[str, Arm]]) -> str:
    both = [(p["default"], p["unobserved"]) for p in pairs]
    step = statistics.median(bare.wall / bare.steps for _, bare in both)
    cells = [
        backend,
        model,
        f"{1000 * step:.2f} ms",
        spread([seen.wall / bare.wall for seen, bare in both]),
        spread([seen.cpu / bare.cpu for seen, bare in both]),
        spread([seen.ready - bare.ready for seen, bare in both], 2) + " s",
    ]
    return "| " + " | ".join(cells) + " |"


def conditions(pairs: int) -> str:
    """Where and with what the figures were taken."""
    packages = []
    for name in ("keras", "torch", "jax", "tensorflow-cpu", "tensorflow"):
        try:
            packages.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return (
        f"{pairs} pairs; Python {platform.python_version()}, {', '.join(packages)}, "
        f"{platform.system()} on {platform.machine()} with {os.cpu_count()} processors."
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5, help="processes per arm (default 5)")
    parser.add_argument("--backend", choices=BACKENDS, action="append", help="all by default")
    parser.add_argument("--only", default="", help="models whose name holds this")
    options = parser.parse_args()
    if options.pairs < 2:
        parser.error("--pairs must be at least 2: one pair has no spread")
    print("\n".join([conditions(options.pairs), "", *HEAD]))
    for backend in options.backend or BACKENDS:
        if find_spec(backend) is None:
            print(f"{backend} is not installed.", file=sys.stderr)
            continue
        for model in PLAN:
            if options.only.lower() in model.lower():
                with tempfile.TemporaryDirectory() as folder:
                    pairs = [
                        pair(model, backend, seed, Path(folder)) for seed in range(options.pairs)
                    ]
                print(row(model, backend, pairs), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
