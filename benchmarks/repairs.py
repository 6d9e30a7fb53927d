"""`python benchmarks/repairs.py [--only NS401] [--random 3]`: what the proposed edits do to faulty twins.

For each faulty twin whose rule has an edit: the figure that it prints last, of the faulty script, of a copy with the edits
that `normscope repair advice` proposes, and of the healthy twin; whether the finding is gone; and how often an edit
chosen at random among those that can be carried out does as well.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="a rule code or its beginning")
    parser.add_argument("--random", type=int, default=0, help="random edits for each twin")
    parser.add_argument("--write", action="store_true", help="write benchmarks/repairs.md")
    parser.add_argument("--diffs", action="store_true", help="print the edits, and refusals")
    options = parser.parse_args()
    from tests.twins.cases import cases
    from tests.twins.mended import mend
    from tests.twins.warm import warm

    from normscope.repairs.source.proposals import EDITS

    warm()
    lines: list[str] = []

    def tell(line: str) -> None:
        print(line, flush=True)
        lines.append(line)

    tell("| twin | faulty | edited | healthy | restored | finding gone | at random |")
    tell("|---|---:|---:|---:|---|---|---:|")
    chosen = [c for c in cases(options.only) if c.rule in EDITS and not c.frozen]
    total = dict.fromkeys(("apart", "edited", "restored", "random", "tries"), 0)
    for case in chosen:
        mended = mend(case, options.random)
        bad, new, good = mended.figure
        tried = mended.random
        lucky = sum(mended.as_good(ran) for ran in tried)
        if mended.apart:
            total["apart"] += 1
            total["edited"] += mended.edited is not None
            total["restored"] += bool(mended.restored)
            total["tries"] += len(tried)
            total["random"] += lucky
        gone = "-" if mended.edited is None else case.rule not in mended.edited.codes
        lucky_share = f"{lucky}/{len(tried)}" if tried else "-"
        restored = "no edit" if mended.restored is None else "yes" if mended.restored else "no"
        tell(
            f"| {case.path.parent.name} | {number(bad)} | {number(new)} | {number(good)} | "
            f"{restored} | {'-' if gone == '-' else 'yes' if gone else 'no'} | {lucky_share} |"
        )
        if options.diffs:
            print(mended.diff, *mended.refused, sep="\n", flush=True)
            if mended.edited is not None and mended.edited.error:
                print(mended.edited.error.splitlines()[-1])
    tell(
        f"\n{total['apart']} of {len(chosen)} pairs are more than 5 % apart in that figure. Of these {total['edited']} have an edit; "
        f"{total['restored']} are restored by it, and {total['random']} of {total['tries']} times by a random one."
    )
    if options.write:
        text = HEAD + "\n".join(lines) + "\n"
        (ROOT / "benchmarks" / "repairs.md").write_text(text, encoding="utf-8")


HEAD = """\
# What the proposed edits do to faulty twins

Made by `python benchmarks/repairs.py --random 1 --write`. For each faulty twin whose rule has an edit: of the figures in the
last line that it prints, the one in which the twins differ most, of the faulty script, of a copy with the edits that
`normscope repair advice` proposes, and of the healthy twin. *Restored*: as good as the healthy twin, or better, up to 5 % of its figure.
*At random*: how often an edit chosen at random, among all that can be carried out on the script, does that.

"""


if __name__ == "__main__":
    main()
