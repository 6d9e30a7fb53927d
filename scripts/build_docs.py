"""Writes docs/rules from the rules' own docstrings, and beside it failures.md from the twins.

With `--check` it says what is stale and writes nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path

import failures_page

from normscope import catalogue
from normscope.repairs.table import repairs_for
from normscope.rule import SECTIONS, Rule

ROOT = Path(__file__).resolve().parents[1]
MARK = "<!-- Written by scripts/build_docs.py from the rule's docstring. -->\n\n"
GROUPS = {
    "1": "Structure",
    "2": "Settings",
    "3": "Batches",
    "4": "State",
    "5": "Signal",
    "6": "Measured",
    "7": "Deployment",
}


def pages() -> Mapping[str, str]:
    """File name → text: the index, and one page a rule."""
    modules = catalogue.modules()
    return {"README.md": index(tuple(modules))} | {
        f"{rule.code}.md": page(rule, Path(str(module.__file__)))
        for rule, module in modules.items()
    }


def page(rule: Rule, source: Path) -> str:
    facts = [
        f"severity up to **{rule.severity}**",
        f"asks for {' and '.join(f'`{need}`' for need in rule.needs)}",
        f"since {rule.since}",
        f"[source](../../{source.relative_to(ROOT).as_posix()})",
    ]
    if not rule.default:
        facts.insert(0, f"**off by default**: `--select {rule.code}`")
    if rule.explains:
        known = {r.code for r in catalogue.rules()}
        symptoms = (
            f"[{c}]({c}.md){' (at its layers)' if c in rule.at_its_layers else ''}"
            if c in known
            else c
            for c in rule.explains
        )
        facts.append(f"explains {', '.join(symptoms)}")
    if names := repairs_for(rule.code):
        facts.append(f"mended by {', '.join(f'[`{n}`](../repairs.md)' for n in names)}")
    parts = [f"# {rule.code} {rule.name}", rule.sections[""], " · ".join(facts)]
    parts += [f"## {name}\n\n{rule.sections[name]}" for name in SECTIONS if name in rule.sections]
    return MARK + "\n\n".join(parts) + "\n"


def index(rules: tuple[Rule, ...]) -> str:
    parts = [
        f"# The rules\n\n{len(rules)} rules; `normscope explain CODE` shows a page in the terminal."
    ]
    for number, group in groupby(rules, key=lambda r: r.code[2]):
        rows = [
            f"| [{r.code}]({r.code}.md) | {r.name} | {r.severity}{'' if r.default else ', off'} | {first_sentence(r)} |"
            for r in group
        ]
        head = f"## {GROUPS[number]}\n\n| code | name | at most | |\n|---|---|---|---|\n"
        parts.append(head + "\n".join(rows))
    parts.append(causes(rules))
    return MARK.replace("rule's docstring", "rules' docstrings") + "\n\n".join(parts) + "\n"


def causes(rules: tuple[Rule, ...]) -> str:
    """The whole relation of causes and symptoms in one table."""
    known = {r.code: r.name for r in rules}
    rows = [
        f"| [{r.code}]({r.code}.md) {r.name} | {', '.join(f'[{c}]({c}.md)' for c in r.explains)} | {_when(r)} |"
        for r in rules
        if r.explains
    ]
    unknown = sorted({c for r in rules for c in r.explains} - known.keys())
    if unknown:
        raise ValueError(f"rules explain codes that no rule has: {', '.join(unknown)}")
    return (
        "## Causes before symptoms\n\nWhere a cause and its symptoms are found in the same model, the cause is reported, and the symptoms below it.\n\n"
        "| cause | explains | |\n|---|---|---|\n" + "\n".join(rows)
    )


def _when(cause: Rule) -> str:
    """What else must hold for the relation."""
    if cause.at_its_layers:
        return f"{', '.join(cause.at_its_layers)} only where it shows first at the cause's layers"
    return "" if cause.alone else "only together with one of them"


def failures() -> Mapping[str, str]:
    """The page of reported failures, under its file name."""
    known = {r.code: r.name for r in catalogue.rules()}
    return {"failures.md": failures_page.page(failures_page.read(), known)}


def first_sentence(rule: Rule) -> str:
    paragraph = " ".join(rule.sections[""].split("\n\n")[0].split())
    return paragraph.replace("|", "\\|")


def stale(folder: Path, wanted: Mapping[str, str], pattern: str = "*.md") -> list[str]:
    """Names of pages in `folder` that are missing, different, or of nothing in `wanted`."""
    held = {p.name: p.read_text(encoding="utf-8") for p in folder.glob(pattern)}
    return sorted(n for n in held.keys() | wanted.keys() if held.get(n) != wanted.get(n))


def write(folder: Path, wanted: Mapping[str, str], pattern: str = "*.md") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in stale(folder, wanted, pattern):
        if name in wanted:
            (folder / name).write_text(wanted[name], encoding="utf-8")
        else:
            (folder / name).unlink()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit 1 if anything is stale"
    )
    parser.add_argument("--folder", type=Path, default=ROOT / "docs" / "rules")
    options = parser.parse_args(arguments)
    # What else lies beside the folder of rules is written by hand.
    parts = (options.folder, pages(), "*.md"), (options.folder.parent, failures(), "failures.md")
    if not options.check:
        for part in parts:
            write(*part)
        return 0
    names = [folder / n for folder, *wanted in parts for n in stale(folder, *wanted)]
    for name in names:
        print(f"{name} is stale; run `make docs`.", file=sys.stderr)
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
