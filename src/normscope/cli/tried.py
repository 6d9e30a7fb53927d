"""From what a trial found to its reports, at its end or from its record."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from normscope.cli import diagnosing
from normscope.cli.outputs import Output, outputs_of
from normscope.config import Config
from normscope.errors import NormscopeError

if TYPE_CHECKING:
    from normscope.finding import Finding
    from normscope.trials.answer import TrialAnswer


def report(file: Path, config: Config) -> int:
    """Print or write the reports of a trial from its record; 1 when a finding is at or above the bar."""
    from normscope.trials.stored import stored

    outputs = trial_outputs(config)
    found = stored(file)
    findings = findings_of(found, config)
    diagnosing.publish(rendered(found, findings), outputs, to_stderr=False)
    return int(diagnosing.at_bar(findings, config.fail_on or "error"))


def trial_outputs(config: Config) -> tuple[Output, ...]:
    """Raises NormscopeError for a format that a trial has no report in."""
    outputs = outputs_of(config, to_stdout=True)
    for output in outputs:
        if output.format in ("sarif", "github"):
            raise NormscopeError(
                f"A trial has no report in the format `{output.format}`; choose text, json or html."
            )
    return outputs


def findings_of(found: TrialAnswer, config: Config) -> list[Finding]:
    """What the selected rules say of it, without what the user's baseline knows."""
    from normscope import engine
    from normscope.evidence import HINTS, Evidence
    from normscope.fingerprint import fingerprint
    from normscope.suppression import read_baseline

    rules = [r for r in diagnosing.rules_of(config) if "trial" in r.needs]
    findings, _ = engine.run(rules, Evidence({"trial": [found]}, HINTS))
    known = set(read_baseline(config.baseline)) if config.baseline else set[str]()
    return [f for f in findings if fingerprint(f) not in known]


def rendered(found: TrialAnswer, findings: Sequence[Finding]) -> diagnosing.Rendered:
    """The report in all its forms."""
    from normscope.report import trial as report_of_trial
    from normscope.report.html import trial_to_html

    return diagnosing.Rendered(
        show=lambda console: report_of_trial.render(found, findings, console),
        json=lambda: report_of_trial.dumps(found, findings),
        html=lambda: trial_to_html(found, findings),
    )
