"""`check`: static answers, printed and written."""

from __future__ import annotations

from collections.abc import Sequence

from normscope.cli.diagnosing import at_bar, of_diagnosis, publish, rules_of
from normscope.cli.outputs import outputs_of
from normscope.config import Config


def check(target: str, inputs: Sequence[str], config: Config) -> int:
    """Judge a model by its code; 1 when a finding is at or above the bar."""
    from normscope.checking import check_target
    from normscope.checking.inputs import input_of

    outputs = outputs_of(config, to_stdout=True)
    rules = rules_of(config)
    diagnosis = check_target(target, [input_of(text) for text in inputs], rules=rules)
    publish(of_diagnosis(diagnosis), outputs, to_stderr=False)
    return int(at_bar(diagnosis.findings, config.fail_on or "error"))
