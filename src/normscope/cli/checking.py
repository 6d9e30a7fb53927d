"""`check`: static answers, printed and written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from normscope.cli.diagnosing import at_bar, of_diagnosis, publish, rules_of, unknown
from normscope.cli.outputs import Output, check_writable, outputs_of, write
from normscope.config import Config


def check(
    target: str,
    inputs: Sequence[str],
    config: Config,
    *,
    weights: Path | None = None,
    write_baseline: Path | None = None,
) -> int:
    """Judge a model by its code; 1 when a finding is at or above the bar, 0 when it became the baseline."""
    from normscope.checking import check_target
    from normscope.checking.inputs import input_of

    outputs = outputs_of(config, to_stdout=True)
    if write_baseline is not None:
        check_writable(write_baseline)
    rules = rules_of(config)
    specs = [input_of(text) for text in inputs]
    diagnosis = check_target(target, specs, weights=weights, rules=rules)
    if write_baseline is not None:
        from normscope.suppression import baseline_of, without

        kept = without(diagnosis, config.ignore_layers)
        write(Output("json", write_baseline), baseline_of(kept))
        return 0
    diagnosis = unknown(diagnosis, config)
    publish(of_diagnosis(diagnosis), outputs, to_stderr=False)
    return int(at_bar(diagnosis.findings, config.fail_on or "error"))
