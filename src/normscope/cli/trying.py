"""`normscope trial`: everything that can be wrong is checked before the first run; how far it is shows on a terminal."""

from __future__ import annotations

import signal
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from normscope.cli import diagnosing, tried
from normscope.cli.outputs import check_writable
from normscope.config import Config
from normscope.errors import NormscopeError
from normscope.session.target import target_of

if TYPE_CHECKING:
    from normscope.trials.answer import TrialAnswer
    from normscope.trials.conducting import Conductor
    from normscope.trials.executors import Executor
    from normscope.trials.results import Run
    from normscope.trials.starting import Job

INTERRUPTED = 128 + signal.SIGINT


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """The options as they were given. `metric` holds a pattern, a file with a key, and a name: one of them."""

    arms: str
    seeds: str
    metric: tuple[str | None, str | None, str | None]
    higher_is_better: bool
    jobs: str
    ray: str | None
    halving: bool
    rerun: tuple[str, ...]
    shared: tuple[str, ...]
    record: Path | None


def try_arms(command: Sequence[str], wish: Wish, config: Config) -> int:
    """Run what is not there yet, and report; 1 when a finding is at or above the bar, 130 when interrupted.

    An interrupt ends the runs that are under way; what had finished before is reported and kept.
    """
    from normscope.trials.arms import arms_of
    from normscope.trials.comparison import check_able
    from normscope.trials.conducting import Conductor, trial_of
    from normscope.trials.metric import metric_of
    from normscope.trials.store import TrialStore

    check_able()
    target = target_of(command)
    metric = metric_of(*wish.metric)
    trial = trial_of(
        target,
        arms_of(wish.arms),
        seeds_of(wish.seeds),
        metric,
        higher_is_better=wish.higher_is_better,
        halving=wish.halving,
    )
    outputs = tried.trial_outputs(config)
    record = wish.record or target.record.with_suffix(".trial.nscope")
    check_writable(record)
    store = TrialStore(record)
    try:
        conductor = Conductor(
            trial,
            store,
            _executor(wish),
            spared=wish.shared,
            rerun=wish.rerun,
        )
        if trial.kept:
            sys.stderr.write(f"normscope: {trial.kept} finished runs are in {record} already.\n")
        complete = _carry_out(conductor)
    finally:
        store.close()
    found = _answer(conductor)
    findings = tried.findings_of(found, config)
    written = diagnosing.publish(tried.rendered(found, findings), outputs, to_stderr=False)
    sys.stderr.write(f"\nRecord: {record}\n")
    sys.stderr.writelines(f"Report: {path}\n" for path in written)
    if not complete:
        return INTERRUPTED
    return int(diagnosing.at_bar(findings, config.fail_on or "never"))


def seeds_of(text: str) -> tuple[int, ...]:
    """`5` is the first five; `0,1,7` are these. Raises NormscopeError."""
    words = [w.strip() for w in text.split(",") if w.strip()]
    if not words or not all(w.isdecimal() for w in words):
        raise NormscopeError(
            f"`--seeds {text}` was given, but a number of seeds, or seeds separated by commas, was expected: 5 or 0,1,7."
        )
    if len(words) == 1 and "," not in text:
        if int(text) < 1:
            raise NormscopeError("`--seeds` must be at least 1; for an interval at least 2.")
        return tuple(range(int(text)))
    return tuple(dict.fromkeys(map(int, words)))


def _executor(wish: Wish) -> Executor[Job, Run]:
    from normscope.trials.starting import perform

    if wish.ray is not None:
        from normscope.trials.executors.ray import RayExecutor

        return RayExecutor(wish.ray, perform)
    from normscope.trials.executors.local import LocalExecutor, jobs_of

    return LocalExecutor(jobs_of(wish.jobs), perform)


def _answer(conductor: Conductor) -> TrialAnswer:
    from normscope.trials.answer import answer

    t = conductor.trial
    return answer(t.plan, t.arms, t.runs, t.dropped, t.notes)


def _carry_out(conductor: Conductor) -> bool:
    """With a bar on a terminal, without in a pipe; False when the user interrupted."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from normscope.trials.conducting import Progress as HowFar

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with (
        _terminated_as_interrupted(),
        Progress(*columns, console=console, disable=not console.is_terminal) as bars,
    ):
        bar = bars.add_task("trial", total=None, left="")

        def tell(how_far: HowFar) -> None:
            now = ", ".join(f"{arm} seed {seed}" for arm, seed in how_far.running[:3])
            bars.update(
                bar,
                completed=how_far.done,
                total=how_far.total,
                description=now or "trial",
                left=_left(how_far.seconds),
            )

        try:
            conductor.run(tell)
        except KeyboardInterrupt:
            sys.stderr.write("normscope: interrupted; finished runs are kept.\n")
            return False
    return True


def _left(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} left"


@contextmanager
def _terminated_as_interrupted() -> Generator[None]:
    """SIGTERM puts the user's files in order, too."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
