"""What the proposed repairs do to faulty twins, beside edits chosen at random.

    python benchmarks/repairs.py [--only NS401] [--random 3] [--results FILE] [--again TWIN] [--write]

For each faulty twin whose rule proposes a repair that a command can carry out: the figure that it prints last, of the faulty
script, of a copy with the first repair that is proposed, and of the healthy twin; whether the finding is gone; and how often
an edit chosen at random among those that can be carried out does as well. With `--results` it continues where it was stopped;
with `--write` the table goes to benchmarks/repairs.md.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from tests.twins.cases import Case, cases  # noqa: E402, it lies beside the package, not in it
from tests.twins.mended import Mended, mend  # noqa: E402
from tests.twins.recalibrated import has_call  # noqa: E402
from tests.twins.warm import warm  # noqa: E402

from normscope.repairs.source.proposals import EDITS  # noqa: E402

MARK = "<!-- figures: everything below is written by benchmarks/repairs.py --write -->"


@dataclass(frozen=True, slots=True)
class Row:
    """One twin. `repaired` and `restored` are None where nothing was proposed, `gone` where nothing ran."""

    twin: str
    digest: str  # of both scripts: a row of other ones does not count
    faulty: float | None
    repaired: float | None
    healthy: float | None
    apart: bool
    restored: bool | None
    gone: bool | None
    lucky: int
    tries: int
    refused: tuple[str, ...]
    diff: str
    error: str = ""

    @property
    def frozen(self) -> bool:
        return self.twin.startswith("frozen/")


def row_of(case: Case, mended: Mended) -> Row:
    bad, new, good = mended.figure
    ran = mended.edited
    return Row(
        twin=name_of(case),
        digest=digest_of(case),
        faulty=bad,
        repaired=new,
        healthy=good,
        apart=mended.apart,
        restored=mended.restored,
        gone=None if ran is None else not ran.codes & {case.rule, *case.accept},
        lucky=sum(mended.as_good(r) for r in mended.random),
        tries=len(mended.random),
        refused=mended.refused,
        diff=mended.diff,
        error=ran.error.strip().rpartition("\n")[2] if ran else "",
    )


def name_of(case: Case) -> str:
    return case.name.removesuffix("/faulty")


def digest_of(case: Case) -> str:
    both = (case.path, case.path.with_name("healthy.py"))
    return hashlib.sha256(b"\0".join(p.read_bytes() for p in both)).hexdigest()[:16]


def known(file: Path | None) -> dict[str, Row]:
    """The rows of a results file; the last of a twin counts."""
    if file is None or not file.exists():
        return {}
    rows = (msgspec.json.decode(line, type=Row) for line in file.read_bytes().splitlines())
    return {row.twin: row for row in rows}


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def word(value: bool | None, nothing: str = "-") -> str:
    return nothing if value is None else "yes" if value else "no"


def line_of(row: Row) -> str:
    cells = (
        row.twin.partition("/")[2],
        number(row.faulty),
        number(row.repaired),
        number(row.healthy),
        word(row.restored, "no edit") if row.apart else "not apart",
        word(row.gone),
        f"{row.lucky}/{row.tries}" if row.tries else "-",
    )
    return f"| {' | '.join(cells)} |"


def table(title: str, rows: Iterable[Row]) -> Iterator[str]:
    rows = sorted(rows, key=lambda r: r.twin)
    yield f"**{title}**"
    yield ""
    yield "| twin | faulty | repaired | healthy | restored | finding gone | at random |"
    yield "|---|---:|---:|---:|---|---|---:|"
    yield from map(line_of, rows)
    apart = [r for r in rows if r.apart]
    edited = [r for r in apart if r.restored is not None]
    yield ""
    yield (
        f"{len(apart)} of {len(rows)} pairs are more than 5 % apart in that figure. Of these {len(edited)} have a repair, "
        f"and {sum(bool(r.restored) for r in edited)} are restored by it; a random edit restores "
        f"{sum(r.lucky for r in apart)} times of {sum(r.tries for r in apart)}."
    )
    reasons = [
        f"- {r.twin.partition('/')[2]}: {' · '.join(r.refused)}"
        for r in apart
        if r.restored is None and r.refused
    ]
    yield from ("", "Refused:", "", *reasons) if reasons else ()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="a rule code or its beginning")
    parser.add_argument("--random", type=int, default=0, help="random edits for each twin")
    parser.add_argument("--results", type=Path, help="one line for each; those in it are not run")
    parser.add_argument(
        "--again", action="append", default=[], help="run this twin again, random edits apart"
    )
    parser.add_argument("--known", action="store_true", help="only what is in the results so far")
    parser.add_argument("--write", action="store_true", help="put the table into repairs.md")
    options = parser.parse_args()
    chosen = [c for c in cases(options.only) if c.rule in EDITS or (c.rule and has_call(c))]
    found = known(options.results)
    rows: list[Row] = []
    if options.again or not options.known:
        warm()
    for case in chosen:
        row = found.get(name_of(case))
        row = row if row and row.digest == digest_of(case) else None
        again = name_of(case).partition("/")[2] in options.again
        if row is None and options.known:
            continue
        if row is None or again:
            new = row_of(case, mend(case, 0 if row else options.random))
            # What is proposed may have changed; the edits at random have not.
            row = replace(new, lucky=row.lucky, tries=row.tries) if row else new
            if options.results:
                with options.results.open("ab") as file:
                    file.write(msgspec.json.encode(row) + b"\n")
        print(line_of(row), flush=True)
        rows.append(row)
    lines = [
        *table("Twins that rules were written on", (r for r in rows if not r.frozen)),
        "",
        *table("Twins kept back", (r for r in rows if r.frozen)),
    ]
    print("", *lines, sep="\n")
    if options.write:
        page = HERE / "repairs.md"
        head = page.read_text(encoding="utf-8").partition(MARK)[0]
        page.write_text(head + MARK + "\n\n" + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
