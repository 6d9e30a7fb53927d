"""From recordings to printed and written reports: `report`, `compare`, and the end of `run`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from normscope.cli.outputs import Output, outputs_of, write
from normscope.config import Config, FailOn, Format
from normscope.errors import NormscopeError

if TYPE_CHECKING:
    from rich.console import Console

    from normscope.comparison import Comparison
    from normscope.diagnosis import Diagnosis
    from normscope.finding import Finding
    from normscope.rule import Rule


def report(file: Path, config: Config) -> int:
    """Print or write the reports of one recording; 1 when a finding is at or above the bar."""
    outputs = outputs_of(config, to_stdout=True)
    diagnosis = diagnosis_of(file, config)
    publish(of_diagnosis(diagnosis), outputs, to_stderr=False)
    return int(at_bar(diagnosis.findings, config.fail_on or "error"))


def compare(before: Path, after: Path, config: Config) -> int:
    """Print or write a comparison; 1 when the change brought a finding at or above the bar."""
    from normscope.comparison import compare as compared

    outputs = outputs_of(config, to_stdout=True)
    comparison = compared(diagnosis_of(before, config), diagnosis_of(after, config))
    publish(of_comparison(comparison), outputs, to_stderr=False)
    return int(at_bar(comparison.new, config.fail_on or "error"))


def check_known(config: Config) -> None:
    """Raises NormscopeError for a prefix that no rule has, and for a baseline that is none."""
    if config.select or config.ignore:
        rules_of(config)
    if config.baseline is not None:
        from normscope.suppression import read_baseline

        read_baseline(config.baseline)


def rules_of(config: Config) -> tuple[Rule, ...]:
    """The selected rules. Raises NormscopeError for a prefix that no rule has."""
    from normscope import catalogue

    return catalogue.selection(config.select, config.ignore)


def diagnosis_of(file: Path, config: Config) -> Diagnosis:
    """Raises NormscopeError when `file` is no readable recording or a rule prefix is unknown."""
    from normscope.diagnosis import diagnose
    from normscope.record.store import load
    from normscope.repairs.proposed import with_repairs
    from normscope.repairs.source.proposals import with_advice
    from normscope.trials.store import is_trial

    if is_trial(file):
        raise NormscopeError(
            f"`{file}` is the record of a trial, not of a run, and compares its own arms: `normscope report {file}`."
        )
    rules = rules_of(config)
    return with_repairs(with_advice(unknown(diagnose(load(file), rules), config)))


def unknown(diagnosis: Diagnosis, config: Config) -> Diagnosis:
    """Without what the user knows: ignored layers and the findings of the baseline."""
    if not config.ignore_layers and config.baseline is None:
        return diagnosis
    from normscope.suppression import read_baseline, without

    known = read_baseline(config.baseline) if config.baseline else ()
    return without(diagnosis, config.ignore_layers, known)


def at_bar(findings: Iterable[Finding], bar: FailOn) -> bool:
    """Whether a finding is as severe as `bar`; an explained one counts through its cause."""
    serious = {"error": ("error",), "warning": ("error", "warning"), "never": ()}[bar]
    return any(f.severity in serious for f in findings)


def publish(rendered: Rendered, outputs: Sequence[Output], *, to_stderr: bool) -> list[Path]:
    """Print and write the asked-for reports, a text on the terminal when none is asked for; the files written."""
    from rich.console import Console

    files = [o for o in outputs if o.path is not None]
    on_terminal: list[Format] = [o.format for o in outputs if o.path is None]
    # `run` always says its verdict; elsewhere what was asked for is enough.
    if not on_terminal and (to_stderr or not files):
        on_terminal = ["text"]
    for output in files:
        write(output, rendered.encode(output.format))
    for format_ in on_terminal:
        if format_ == "text":
            rendered.show(Console(stderr=to_stderr))
        else:
            stream = sys.stderr if to_stderr else sys.stdout
            stream.flush()
            stream.buffer.write(rendered.encode(format_).rstrip() + b"\n")
            stream.buffer.flush()
    return [o.path for o in files if o.path is not None]


@dataclass(frozen=True, slots=True)
class Rendered:
    """A report in all its forms, each made when it is asked for."""

    show: Callable[[Console], None]
    json: Callable[[], bytes]
    html: Callable[[], str]
    sarif: Callable[[], bytes] | None = None
    github: Callable[[], bytes] | None = None

    def encode(self, format_: Format) -> bytes:
        """The bytes of a file in that format."""
        match format_:
            case "json":
                return self.json()
            case "html":
                return self.html().encode()
            case "sarif" | "github":
                if (made := getattr(self, format_)) is None:
                    raise NormscopeError(
                        f"A comparison has no `{format_}` form. Choose text, json or html, or take the report of one run."
                    )
                return made()
            case "text":
                from rich.console import Console

                text = StringIO()
                self.show(Console(file=text, width=100))
                return text.getvalue().encode()


def of_diagnosis(diagnosis: Diagnosis) -> Rendered:
    from normscope.report import github, json, sarif, terminal

    def page() -> str:
        from normscope.report.html import to_html

        return to_html(diagnosis)

    return Rendered(
        lambda console: terminal.render(diagnosis, console),
        lambda: json.dumps(diagnosis),
        page,
        lambda: sarif.dumps(diagnosis),
        lambda: github.workflow_commands(diagnosis).encode("utf-8", "backslashreplace"),
    )


def of_comparison(comparison: Comparison) -> Rendered:
    from normscope.report import compare as report_of_change

    def page() -> str:
        from normscope.report.html import comparison_to_html

        return comparison_to_html(comparison)

    return Rendered(
        lambda console: report_of_change.render(comparison, console),
        lambda: report_of_change.dumps(comparison),
        page,
    )
