"""`python -m tests.twins.runner [--only NS401] [--jobs 2]`: expected rule × found primary, over all twins.

With `--results FILE` it goes on where it was stopped; `--budget 0.01` observes as a user's run does by default.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from .cases import Case, cases
from .warm import ALL, Outcome, run_all, warm

NOTHING = "-"


def right(case: Case, outcome: Outcome) -> bool:
    """Whether the diagnosis says what the case expects."""
    if outcome.error:
        return False
    if case.rule is None:
        return outcome.primary is None and not outcome.codes.intersection(case.select)
    if case.severity == "info":
        return outcome.primary is None and case.rule in outcome.codes
    return outcome.primary in (case.rule, *case.accept)


def found(case: Case, outcome: Outcome) -> str:
    """One word for the table: a code, `-` for nothing blamed, or why there is no diagnosis."""
    if outcome.error:
        return "crash"
    if outcome.primary is None and case.severity == "info" and case.rule in outcome.codes:
        return f"{case.rule} info"
    if outcome.primary is None and outcome.status != "healthy":
        return outcome.status
    return outcome.primary or NOTHING


def table(results: Sequence[tuple[Case, Outcome]]) -> str:
    """Rows: expected; columns: found; a row ends with how many were right."""
    cells = Counter((expected(c), found(c, o)) for c, o in results)
    good = Counter(expected(c) for c, o in results if right(c, o))
    total = Counter(expected(c) for c, _ in results)
    columns = sorted({f for _, f in cells})
    width = max(len(f) for f in ["right", *columns]) + 2
    lines = ["expected    " + "".join(f"{f:>{width}}" for f in [*columns, "right"])]
    for row in sorted(total):
        counts = [str(cells[row, f] or ".") for f in columns]
        share = f"{good[row]}/{total[row]}"
        lines.append(f"{row:<12}" + "".join(f"{x:>{width}}" for x in [*counts, share]))
    return "\n".join(lines)


def expected(case: Case) -> str:
    if case.rule is None:
        return "healthy"
    return f"{case.rule} info" if case.severity == "info" else case.rule


def explain(case: Case, outcome: Outcome) -> str:
    """Why a case is wrong: the traceback's last line, or every finding that blames."""
    head = f"{case.name}: expected {expected(case)}, found {found(case, outcome)}"
    if outcome.error:
        return f"{head}\n    {outcome.error.strip().splitlines()[-1]}"
    return "\n".join(
        [head]
        + [
            f"    {f['code']} {f['severity']} ({f['confidence']}): {f['message']}"
            for f in outcome.findings
            if f["severity"] != "info" or f["code"] == case.rule
        ]
    )


def known(chosen: Sequence[Case], file: Path | None) -> list[tuple[Case, Outcome]]:
    """What an earlier run of the same command left in `file`."""
    if file is None or not file.exists():
        return []
    by_name = {c.name: c for c in chosen}
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [(by_name[x["name"]], Outcome(**x["outcome"])) for x in lines if x["name"] in by_name]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.twins.runner", description=__doc__)
    parser.add_argument("--only", default="", help="a rule code or its beginning")
    parser.add_argument("--jobs", type=int, default=1, help="scripts at the same time")
    parser.add_argument("--budget", type=float, default=ALL, help="share of a script's time")
    parser.add_argument("--results", type=Path, help="a line for each script; those in it stay")
    options = parser.parse_args(argv)
    chosen = cases(options.only)
    if not chosen:
        parser.error(f"no twin expects a rule that begins with {options.only}")
    results = known(chosen, options.results)
    waiting = {str(c.path): c for c in chosen if c.name not in {k.name for k, _ in results}}
    if waiting:
        warm()
    for outcome in run_all([c.path for c in waiting.values()], options.jobs, options.budget):
        case = waiting[outcome.path]
        results.append((case, outcome))
        if options.results:
            with options.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"name": case.name, "outcome": asdict(outcome)}) + "\n")
        if sys.stderr.isatty():
            print(f"\r{len(results)}/{len(chosen)}", end="", file=sys.stderr, flush=True)
    results.sort(key=lambda pair: pair[0].name)
    for title, frozen in (("Pairs and healthy scripts", False), ("Frozen pairs", True)):
        part = [(c, o) for c, o in results if c.frozen == frozen]
        if part:
            print(f"{title}: {sum(right(c, o) for c, o in part)} of {len(part)} right")
            print(table(part), end="\n\n")
    wrong = [(c, o) for c, o in results if not right(c, o)]
    for case, outcome in wrong:
        print(explain(case, outcome))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
