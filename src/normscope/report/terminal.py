"""The text report: Verdict, Why, Next, then the evidence. Reads the same at 80 columns and in a pipe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from normscope.diagnosis import Diagnosis
from normscope.finding import Finding
from normscope.report import answer, probes
from normscope.report.wording import band, plain, reading, shortened, some, steps

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

STYLE = {"error": "bold red", "warning": "yellow", "info": "cyan"}
VERDICT_STYLE = {
    "failing": "bold red",
    "suspect": "bold yellow",
    "healthy": "bold green",
    "not_evaluated": "bold",
}


def render(diagnosis: Diagnosis, console: Console) -> None:
    """Print the report of a diagnosis.

    Text of the user (paths, class names, messages) is never read as markup, and control characters are shown as escapes.
    """
    from rich.text import Text

    style = VERDICT_STYLE[diagnosis.verdict.status]
    blocks: list[RenderableType] = [
        paragraphs(
            ("Verdict", [Text(plain(answer.headline(diagnosis)), style)]),
            ("Why", _why(diagnosis)),
            ("Next", _next(diagnosis)),
            ("Measured", map(Text, _measured(diagnosis))),
        )
    ]
    if diagnosis.findings:
        blocks += [Text("\nEvidence", "bold"), *evidence(diagnosis.findings)]
    blocks += [
        "",
        paragraphs(
            ("Models", map(Text, answer.cast(diagnosis.recording))),
            ("Not seen", map(Text, answer.unseen(diagnosis))),
            ("Not evaluated", map(Text, answer.not_evaluated(diagnosis))),
            ("Cost", [Text(c)] if (c := answer.cost(diagnosis.recording)) else []),
        ),
    ]
    show(blocks, console)


def show(blocks: Iterable[RenderableType], console: Console) -> None:
    """Print blocks; in a pipe without the spaces that fill lines up to the width."""
    with console.capture() as captured:
        for block in blocks:
            console.print(block, highlight=False, markup=False)
    text = captured.get()
    if not console.is_terminal:
        text = "".join(f"{line.rstrip()}\n" for line in text.splitlines())
    encoding = console.encoding
    console.file.write(
        text.translate(_spelt(encoding)).encode(encoding, "backslashreplace").decode(encoding)
    )
    console.file.flush()


def _spelt(encoding: str) -> dict[int, str]:
    """Plain spellings of our own signs, for a terminal that cannot show them."""
    try:
        "−±…—→".encode(encoding)
    except UnicodeEncodeError:
        return str.maketrans({"−": "-", "±": "+/-", "…": "...", "—": "-", "→": "->"})
    return {}


def paragraphs(*parts: tuple[str, Iterable[Text]]) -> Table:
    """Labels at the left, their lines beside them; a label without lines is left out."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, lines in parts:
        for i, line in enumerate(lines):
            if not i and grid.row_count:
                grid.add_row()
            grid.add_row("" if i else label, line)
    return grid


def _why(diagnosis: Diagnosis) -> list[Text]:
    from rich.text import Text

    lines = [Text(plain(diagnosis.verdict.summary))]
    cause = answer.primary(diagnosis)
    if cause is None:
        if diagnosis.verdict.status == "healthy":
            lines += [Text(sentence) for sentence in answer.acquittal(diagnosis)]
    else:
        if where := answer.place(cause):
            lines.append(Text(where, "dim"))
        for symptom in answer.symptoms(diagnosis, cause):
            lines.append(Text.assemble("explains ", _named(symptom), ": ", plain(symptom.message)))
    for other in answer.others(diagnosis):
        lines.append(Text.assemble("also ", _named(other), ": ", plain(other.message)))
    return lines


def _measured(diagnosis: Diagnosis) -> Iterator[str]:
    """What was asked for and answered; a run's own measurements stand with its verdict."""
    recording = diagnosis.recording
    return iter(()) if recording.trained else probes.sentences(recording)


def _named(finding: Finding) -> tuple[str, str]:
    return f"{finding.code} {finding.name} ({finding.severity})", STYLE[finding.severity or "info"]


def _next(diagnosis: Diagnosis) -> list[Text]:
    from rich.text import Text

    kinds = {"exact": "keeps the function", "changes-function": "changes the function"}
    return [
        Text.assemble((plain(r.command), "bold"), f"  ({kinds[r.kind]})")
        for r in answer.remedies(diagnosis)
    ]


def evidence(findings: Sequence[Finding]) -> Iterator[RenderableType]:
    """Code, severity, layers and steps of each finding, its numbers below; symptoms indented under their cause."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    for f in findings:
        indent = 4 if f.explained_by else 2
        head = Text.assemble(_coded(f), "  ", some(f.layers) or shortened(f.model))
        if f.steps:
            head.append(f"  steps {steps(f.steps)}", "dim")
        yield Padding(head, (0, 0, 0, indent))
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(width=32, overflow="fold")
        table.add_column(width=16, overflow="fold")
        table.add_column(overflow="fold", style="dim")
        for m in f.measured:
            table.add_row(Text(shortened(m.name, 70)), Text(reading(m), "bold"), Text(band(m)))
        if f.measured:
            yield Padding(table, (0, 0, 0, indent + 2))


def _coded(finding: Finding) -> tuple[str, str]:
    return f"{finding.code} {finding.severity}", STYLE[finding.severity or "info"]
