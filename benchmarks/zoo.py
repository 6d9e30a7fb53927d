"""`normscope check` on every architecture of torchvision, timm and transformers that can be built without a network.

    python benchmarks/zoo.py [--library timm] [--only resnet] [--sample 60] [--results zoo.jsonl] [--write]

Each is built with random weights, with shapes alone where it has more than 20 million parameters, and then
`normscope.check` is timed on it (processor time). Prints crashes, times and findings; status 1 when something crashed, or when a warning or
error is not in `reviewed.py`. With `--results` it continues where it was stopped; with `--write` the tables go to benchmarks/zoo.md.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from architectures import LIBRARIES, Entry, entries, prepare
from reviewed import why

HERE = Path(__file__).resolve().parent
MARK = "<!-- figures: everything below is written by benchmarks/zoo.py --write -->"
WITH_VALUES = 20_000_000  # parameters; a larger model is built without values


@dataclass(slots=True)
class Result:
    """What checking one architecture gave. Times in seconds of the processor."""

    library: str
    name: str
    build: float = 0.0
    check: float = 0.0
    norms: int = 0
    nodes: int = 0
    parameters: int = 0
    findings: list[tuple[str, str, str]] = field(default_factory=list)  # code, severity, message
    opaque: list[str] = field(default_factory=list)
    note: str = ""  # why a graph is not complete
    error: str = ""
    skipped: str = ""


def checked(entry: Entry) -> Result:
    """With values where drawing them is quick, and where the model needs them; with shapes alone elsewhere."""
    import torch

    from normscope.errors import NormscopeError

    torch.manual_seed(0)
    with contextlib.suppress(Exception):  # some read values while being built
        with torch.device("meta"):
            began = time.process_time()
            model = entry.make()
        if sum(p.numel() for p in model.parameters()) > WITH_VALUES:
            with contextlib.suppress(NormscopeError):  # tensors of its own are on the meta device
                return judged(entry, model, time.process_time() - began)
        del model
    began = time.process_time()
    try:
        model = entry.make()
    except Exception as error:  # noqa: BLE001  whatever keeps it from being built is told
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        return Result(entry.library, entry.name, skipped=reason)
    try:
        return judged(entry, model, time.process_time() - began)
    except NormscopeError as error:
        return Result(entry.library, entry.name, error=str(error))


def judged(entry: Entry, model: Any, build: float) -> Result:
    """Raises NormscopeError when the model's own forward pass fails."""
    import normscope
    from normscope.errors import NormscopeError

    result = Result(entry.library, entry.name, build=build)
    result.parameters = sum(p.numel() for p in model.parameters())
    args, kwargs = entry.inputs(model)
    began = time.process_time()
    try:
        diagnosis = normscope.check(model, *args, **kwargs)
    except NormscopeError:
        raise
    except Exception as error:  # noqa: BLE001  a crash is what is looked for
        result.error = f"{type(error).__name__}: {error}"
        return result
    result.check = time.process_time() - began
    graphs = diagnosis.recording.graphs
    result.norms = len(diagnosis.recording.layers)
    result.nodes = sum(len(list(g)) for g in graphs)
    result.findings = [(f.code, f.severity or "", f.message) for f in diagnosis.findings]
    result.opaque = list(diagnosis.coverage.opaque_operations)
    result.note = "; ".join(g.coverage.note for g in graphs if g.coverage.note)
    return result


def worker(chosen: Sequence[tuple[str, str]], pipe: Any) -> None:
    os.environ["TORCHDYNAMO_DISABLE"] = (
        "1"  # torchvision would compile its stand-in for a missing operator
    )
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    kept = prepare()
    known = {(e.library, e.name): e for e in entries(sorted({library for library, _ in chosen}))}
    for key in chosen:
        pipe.send(key)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            result = checked(known[key])
        pipe.send(result)
    del kept


def results_of(chosen: Sequence[tuple[str, str]]) -> Iterator[Result]:
    """In a process of its own, and a new one after each that ended without an answer."""
    left = list(chosen)
    while left:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=worker, args=(left, theirs))
        process.start()
        theirs.close()
        begun = left[0]
        with contextlib.suppress(EOFError):
            while left:
                begun = ours.recv()
                yield ours.recv()
                left.remove(begun)
        process.join()
        if left:
            yield Result(*begun, error=f"the process ended with status {process.exitcode}")
            left.remove(begun)


def table(results: Sequence[Result]) -> str:
    done = [r for r in results if not r.skipped and not r.error]
    rows = [
        "| library | checked | could not be built | crashes | median s | slowest s | with warnings | with errors |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for library in [*dict.fromkeys(r.library for r in results), ""]:
        of = [r for r in results if library in ("", r.library)]
        mine = [r for r in done if library in ("", r.library)]
        if not mine:
            continue
        slowest = max(mine, key=lambda r: r.check)
        counts = [
            sum(any(s == bar for _, s, _ in r.findings) for r in mine)
            for bar in ("warning", "error")
        ]
        rows.append(
            f"| {library or 'all'} | {len(mine)} | {sum(bool(r.skipped) for r in of)} | {sum(bool(r.error) for r in of)} | "
            f"{median(r.check for r in mine):.2f} | {slowest.check:.2f} ({slowest.name}) | {counts[0]} | {counts[1]} |"
        )
    by_rule = Counter((c, s) for r in done for c, s in {(c, s) for c, s, _ in r.findings})
    rows += ["", "| finding | severity | models |", "|---|---|---|"]
    rows += [f"| {c} | {s} | {n} |" for (c, s), n in sorted(by_rule.items())]
    rows += ["", "| model | finding | message | why it is right |", "|---|---|---|---|"]
    for r, (c, s, m) in worst(done):
        rows.append(
            f"| {r.library} {r.name} | {c} {s} | {m} | {why(c, r.library, r.name) or '**not reviewed**'} |"
        )
    rows += ["", *(f"- crash: {r.library} {r.name}: {r.error}" for r in results if r.error)]
    rows += [f"- not built: {r.library} {r.name}: {r.skipped}" for r in results if r.skipped]
    return "\n".join(rows).rstrip()


def worst(results: Sequence[Result]) -> Iterator[tuple[Result, tuple[str, str, str]]]:
    """The warnings and errors."""
    return ((r, (c, s, m)) for r in results for c, s, m in r.findings if s != "info")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", action="append", choices=list(LIBRARIES), default=[])
    parser.add_argument("--only", default="", help="names that contain this")
    parser.add_argument("--sample", type=int, default=0, help="a stratified sample of so many")
    parser.add_argument(
        "--results", type=Path, help="one line for each; those in it are not checked again"
    )
    parser.add_argument(
        "--write", action="store_true", help="write the tables to benchmarks/zoo.md"
    )
    options = parser.parse_args()
    kept = prepare()
    found = entries(options.library or list(LIBRARIES), options.only, options.sample)
    wanted = [(e.library, e.name) for e in found]
    del kept
    results: dict[tuple[str, str], Result] = {}
    if options.results and options.results.exists():
        for line in options.results.read_text(encoding="utf-8").splitlines():
            result = Result(**json.loads(line))
            results[result.library, result.name] = result
    for result in results_of([key for key in wanted if key not in results]):
        results[result.library, result.name] = result
        if options.results:
            with options.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(result)) + "\n")
    asked = [results[key] for key in sorted(wanted)]
    text = table(asked)
    print(text)
    if options.write:
        page = HERE / "zoo.md"
        head = page.read_text(encoding="utf-8").split(MARK)[0]
        page.write_text(f"{head}{MARK}\n\n{text}\n", encoding="utf-8")
    return int(any(r.error for r in asked) or "**not reviewed**" in text)


if __name__ == "__main__":
    sys.exit(main())
