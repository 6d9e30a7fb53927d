"""`normscope run`: everything that can be wrong is checked before the script starts; stdout belongs to the script."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from normscope.cli import diagnosing
from normscope.cli.outputs import check_writable, outputs_of
from normscope.config import Config
from normscope.errors import NormscopeError
from normscope.session.parent import Ended, Settings, run
from normscope.session.signals import die_of
from normscope.session.target import target_of


def run_and_diagnose(command: Sequence[str], config: Config) -> int:
    """The script's own exit status, or 1 when a finding is at or above `fail_on`.

    Does not return when the script died of a signal: then this process does the same, after the report.
    """
    target = target_of(command)
    outputs = outputs_of(config, to_stdout=False)
    record = config.record or target.record
    check_writable(record)
    diagnosing.check_known(config)
    settings = Settings(
        record=record,
        budget=config.budget,
        keep_bytes=config.keep_batches,
        steps=config.steps,
    )
    ended = run(target, settings)
    if (
        sys.stderr is None
    ):  # whoever started us had closed it; only now, for the script is to find it so
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    hit = False
    try:
        try:
            diagnosis = diagnosing.diagnosis_of(settings.record, config)
            hit = diagnosing.at_bar(diagnosis.findings, config.fail_on or "never")
            made = diagnosing.of_diagnosis(diagnosis)
            written = diagnosing.publish(made, outputs, to_stderr=True)
            sys.stderr.write(f"\nRecording: {settings.record}\n")
            sys.stderr.writelines(f"Report: {path}\n" for path in written)
        except NormscopeError as error:
            sys.stderr.write(f"normscope: {error}\n")
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001  the script's status must come through whatever happens to us
            sys.stderr.write(
                f"normscope: the recording {settings.record} could not be diagnosed "
                f"({type(error).__name__}: {error}). This is a fault of normscope; please report it.\n"
            )
    except (OSError, SystemExit) as problem:
        try:
            sys.stderr.write(
                f"normscope: the report broke off ({problem}); the recording is {settings.record}\n"
            )
            sys.stderr.flush()
        except OSError:
            # Nobody reads our own words, as in `2>&1 | head`, after which Rich would exit: nor can this be said.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    return 1 if hit else _as(ended)


def _as(ended: Ended) -> int:
    if ended.signal is not None:
        die_of(ended.signal)
        return 128 + ended.signal  # a signal that did not kill us, such as a stop
    return ended.code
