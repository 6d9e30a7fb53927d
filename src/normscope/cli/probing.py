"""`probe`: asks, shows how far it is, and keeps every answer as soon as it is there."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from normscope.cli import diagnosing
from normscope.cli.outputs import check_writable, outputs_of
from normscope.config import Config
from normscope.errors import NormscopeError
from normscope.probing.questions import QUESTIONS, Question, chosen

if TYPE_CHECKING:
    from normscope.probing.asking import Examination

INTERRUPTED = 128 + signal.SIGINT


def probe(words: Sequence[str], config: Config, *, seconds: float) -> int:
    """Ask the named probes, all without a name; 1 when a finding is at or above the bar, 130 when interrupted.

    An interrupt ends the probe that is running; what was answered before is reported and stays in the recording.
    """
    *names, target = words or ("",)
    if ":" not in target:
        raise NormscopeError(
            f"`{target}` names no setup. Write `normscope probe {' '.join([*names, 'file.py:setup'])}`; `normscope probe --list` "
            "lists the probes."
        )
    if not seconds > 0:
        raise NormscopeError(f"`--seconds` must be above 0; got {seconds:g}.")
    questions = chosen(names)
    outputs = outputs_of(config, to_stdout=True)
    record = config.record or Path(f"{Path(target.rpartition(':')[0]).stem}.nscope")
    check_writable(record)
    diagnosing.check_known(config)
    complete = _examine(target, questions, record, seconds)
    diagnosis = diagnosing.diagnosis_of(record, config)
    written = diagnosing.publish(diagnosing.of_diagnosis(diagnosis), outputs, to_stderr=False)
    sys.stderr.write(f"\nRecording: {record}\n")
    sys.stderr.writelines(f"Report: {path}\n" for path in written)
    if not complete:
        return INTERRUPTED
    return int(diagnosing.at_bar(diagnosis.findings, config.fail_on or "error"))


def list_probes() -> int:
    """Print each probe with its question."""
    width = max(map(len, QUESTIONS))
    for question in QUESTIONS.values():
        sys.stdout.write(f"{question.name:<{width}}  {question.what}\n")
    return 0


def _examine(target: str, questions: Sequence[Question], record: Path, seconds: float) -> bool:
    """Ask one after the other; False when the user interrupted."""
    from normscope.checking.target import build
    from normscope.probing import examined

    left = [*questions]
    with examined(build(target), target=target, record=record) as examination:
        try:
            _ask(examination, left, seconds)
        except KeyboardInterrupt:
            # Asked again under the same name, it would begin a recording in the place of this one.
            rest = record.with_name(f"{record.stem}.rest.nscope")
            names = " ".join(q.name for q in left)
            sys.stderr.write(
                "normscope: interrupted; what was answered is kept. "
                f"For the rest: `normscope probe {names} {target} --record {rest}`.\n"
            )
            return False
    return True


def _ask(examination: Examination, left: list[Question], seconds: float) -> None:
    """Each is taken from those `left` when it was asked. With a bar for each probe on a terminal, without in a pipe."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(file=sys.stderr)  # this very stream: while a probe runs, user code is muted
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        while left:
            question = left[0]
            bar = bars.add_task(question.name, total=1.0)

            def update(done: float, bar: object = bar) -> None:
                bars.update(bar, completed=done)  # pyright: ignore[reportArgumentType]

            examination.ask(question, seconds, update)
            update(1.0)
            del left[0]
