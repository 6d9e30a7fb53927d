"""`normscope rules` and `normscope explain`, from the rules' own docstrings."""

from __future__ import annotations

import sys

from normscope.repairs.table import repairs_for
from normscope.rule import SECTIONS, Rule


def list_rules(*, as_json: bool) -> int:
    """Print every rule: code, name, the highest severity it may give, and what it is about."""
    from normscope import catalogue

    rules = catalogue.rules()
    if as_json:
        import msgspec

        data = msgspec.json.encode([_entry(r) for r in rules])
        sys.stdout.write(msgspec.json.format(data).decode() + "\n")
        return 0
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("Code", "Name", "At most", "What it is about"):
        table.add_column(heading, no_wrap=heading == "Code")
    for r in rules:
        table.add_row(r.code, r.name, _severity(r), Text(_summary(r)))
    console.print(table)
    return 0


def explain(code_or_name: str) -> int:
    """Print one rule's docstring. Raises NormscopeError for an unknown rule."""
    from rich.console import Console
    from rich.markdown import Markdown

    from normscope import catalogue

    rule = catalogue.rule_of(code_or_name)
    text = f"# {rule.code} {rule.name}\n\n{_facts(rule)}\n\n{rule.sections['']}\n"
    known = [s for s in SECTIONS if s in rule.sections]
    others = [s for s in rule.sections if s and s not in SECTIONS]
    text += "".join(f"\n## {s}\n\n{rule.sections[s]}\n" for s in [*known, *others])
    console = Console()
    if console.is_terminal:
        console.print(Markdown(text))
    else:
        sys.stdout.write(text)
    return 0


def _entry(rule: Rule) -> dict[str, object]:
    return {
        "code": rule.code,
        "name": rule.name,
        "severity": rule.severity,
        "default": rule.default,
        "since": rule.since,
        "needs": rule.needs,
        "explains": rule.explains,
        "summary": _summary(rule),
    }


def _summary(rule: Rule) -> str:
    """The docstring's first paragraph on one line."""
    return " ".join(rule.sections[""].split("\n\n")[0].split())


def _severity(rule: Rule) -> str:
    return rule.severity if rule.default else f"{rule.severity}, off"


def _facts(rule: Rule) -> str:
    facts = [f"At most: {rule.severity}.", f"Needs: {', '.join(rule.needs)}."]
    if rule.explains:
        symptoms = (f"{c} (at its layers)" if c in rule.at_its_layers else c for c in rule.explains)
        facts.append(f"Explains: {', '.join(symptoms)}.")
    if names := repairs_for(rule.code):
        facts.append(f"Mended by `normscope repair`: {', '.join(names)}.")
    if not rule.default:
        facts.append(f"Off by default; `--select {rule.code}` turns it on.")
    return " ".join([*facts, f"Since {rule.since}."])
