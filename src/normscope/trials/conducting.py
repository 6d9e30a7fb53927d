"""A trial carried out: every run that is not there yet, in order, each kept as soon as it has ended."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from normscope.errors import NormscopeError, did_you_mean
from normscope.session.target import Target
from normscope.trials import order
from normscope.trials.arms import AS_IS, Arm
from normscope.trials.executors import Executor
from normscope.trials.files import scan
from normscope.trials.metric import Metric
from normscope.trials.results import Plan, Run
from normscope.trials.starting import Job, NotRunError, put_in_order
from normscope.trials.store import TrialStore

PATIENCE = 0.2  # seconds between two looks at the time that is left


@dataclass
class Progress:
    """How far a trial is; `seconds` is a guess of what is left, None before the first run has ended."""

    done: int
    total: int
    seconds: float | None
    running: list[order.Key]


@dataclass
class Trial:
    """What is asked for, and what came of it so far."""

    plan: Plan
    arms: tuple[Arm, ...]
    metric: Metric
    target: Target
    runs: dict[order.Key, Run] = field(default_factory=dict[order.Key, Run])
    dropped: dict[str, str] = field(default_factory=dict[str, str])
    notes: list[str] = field(default_factory=list[str])
    kept: int = 0  # runs that were there already


def trial_of(
    target: Target,
    arms: Sequence[Arm],
    seeds: Sequence[int],
    metric: Metric,
    *,
    higher_is_better: bool = True,
    halving: bool = False,
) -> Trial:
    """The trial of a script. Raises NormscopeError where its source cannot be read."""
    digest = hashlib.sha256()
    for part in (
        _source(target),
        msgspec.json.encode(target.words),
        msgspec.json.encode((metric.source, metric.what)),
    ):
        digest.update(hashlib.sha256(part).digest())
    plan = Plan(
        target=target.name,
        arguments=target.arguments,
        arms=tuple(a.name for a in arms),
        seeds=tuple(seeds),
        metric=metric.what,
        title=metric.title,
        higher_is_better=higher_is_better,
        digest=digest.hexdigest(),
        halving=halving,
    )
    return Trial(plan, tuple(arms), metric, target)


def _source(target: Target) -> bytes:
    path = Path(target.name)
    if target.words[0] == "-m":
        # Without importing anything; packages are told by their path.
        spec = importlib.util.find_spec(target.name.partition(".")[0])
        return (spec.origin or "").encode() if spec else b""
    file = path / "__main__.py" if path.is_dir() else path
    try:
        return file.read_bytes()
    except OSError as error:
        raise NormscopeError(f"Cannot read `{file}`: {error.strerror}.") from None


class Conductor:
    """Carries a trial out. `spared` are paths that runs may share; runs of the arms in `rerun` are forgotten first."""

    def __init__(
        self,
        trial: Trial,
        store: TrialStore,
        executor: Executor[Job, Run],
        *,
        spared: Sequence[str] = (),
        rerun: Sequence[str] = (),
    ) -> None:
        self.trial, self._store, self._executor = trial, store, executor
        self._digest = trial.plan.digest
        own = (str(store.files), str(store.path.absolute()))
        self._spared = (*own, *(f"{own[1]}{s}" for s in ("-wal", "-shm", "-journal")), *spared)
        self._arms = {a.name: a for a in trial.arms}
        self._wanted = order.to_run(trial.plan.arms, trial.plan.seeds)
        self._running: dict[Future[Run], order.Key] = {}
        self._before: scan.Seen = {}  # the folder before the first run
        self._recover()
        self._forget(rerun)
        self._load()

    def run(self, tell: Callable[[Progress], object] = lambda _: None) -> None:
        """Until nothing is left. Raises NormscopeError where the first run shows that the trial cannot be judged.

        However it ends, what is under way is ended, the user's files are as they were, and finished runs are kept.
        """
        try:
            self._fit()
            while True:
                self._begin()
                tell(self._progress())
                if not self._running:
                    break
                ended, _ = wait(self._running, timeout=PATIENCE, return_when=FIRST_COMPLETED)
                for future in ended:
                    self._end(future)
        finally:
            self._store.put_notes(self.trial.notes)
            self._executor.close()

    def _recover(self) -> None:
        """Files that runs of a killed trial left behind are put in order first."""
        for folder in sorted(p for p in self._store.files.iterdir() if p.is_dir()):
            if touched := _in_order(folder):
                self.trial.notes.append(
                    f"An earlier trial was broken off in {folder.name}: {_some(touched)} put back; what it had written is in {folder}."
                )

    def _forget(self, rerun: Sequence[str]) -> None:
        for arm in rerun:
            if arm not in self._arms:
                raise NormscopeError(
                    f"`--rerun {arm}` was given, but the trial has no such arm.{did_you_mean(arm, self._arms)} Arms: {', '.join(self._arms)}."
                )
        self._store.drop(self._digest, rerun)

    def _load(self) -> None:
        runs, old = self._store.runs(self._digest)
        wanted = set(self._wanted)
        self.trial.runs = {k: r for r in runs if (k := (r.arm, r.seed)) in wanted}
        self.trial.kept = len(self.trial.runs)
        if old:
            self.trial.notes.append(
                f"{old} earlier runs are of other versions of the script's modules: they are repeated."
            )
        self._store.put_plan(self.trial.plan)
        self._drop()

    def _fit(self) -> None:
        """What the first run told of memory and files holds when the trial is taken up again."""
        if (first := next(iter(self.trial.runs.values()), None)) is not None:
            self._executor.learn(first)
        if self._store.fact(self._digest, "shared"):
            self._one_at_a_time()

    def _one_at_a_time(self) -> None:
        if self._executor.room > 1:
            self._executor.room = 1
            self.trial.notes.append(
                "The script writes to files that all its runs share, so they run one after the other."
            )

    def _begin(self) -> None:
        while len(self._running) < self._executor.room:
            key = order.ready(
                self._wanted, self.trial.runs, set(self._running.values()), self.trial.dropped
            )
            if key is None:
                return
            arm, seed = key
            if not self.trial.runs:
                self._before = self._seen()
            base = self.trial.runs.get((AS_IS, seed))
            job = Job(
                words=self.trial.target.words,
                arm=self._arms[arm],
                seed=seed,
                metric=self.trial.metric,
                folder=str(self._store.files / f"{arm.replace(':', '-')}-seed{seed}"),
                spared=self._spared,
                steps=base.steps if base and arm != AS_IS else None,
                threads=self._executor.threads,
            )
            self._running[self._executor.submit(job)] = key

    def _end(self, future: Future[Run]) -> None:
        key = self._running.pop(future)
        try:
            run = future.result()
        except (OSError, NotRunError) as error:
            raise NormscopeError(
                f"The trial stopped at {key[0]}, seed {key[1]}: {error}."
            ) from None
        if not self.trial.runs:
            self._first(run)
        self.trial.runs[key] = run
        self._store.put(self._digest, run)
        self._drop()

    def _first(self, run: Run) -> None:
        """The unchanged script must end with a metric, and write nothing that cannot be undone."""
        folder = self._store.files / f"{AS_IS}-seed{run.seed}"
        if run.status != "finished":
            raise NormscopeError(
                f"The first run, of the unchanged script, gave no metric: {run.reason}. What it printed is in {folder}."
            )
        unseen = scan.changed(self._before, self._seen())
        if unseen:
            raise NormscopeError(
                f"The script wrote {_some(unseen)} by a program or library that cannot be watched, so runs cannot be kept apart there. "
                "Name what runs may share by `--shared PATH`, or write elsewhere."
            )
        self._executor.learn(run)
        if self._executor.note:
            self.trial.notes.append(f"{self._executor.note}.")
        if run.written:
            self._store.put_fact(self._digest, "shared", True)
            self._one_at_a_time()

    def _seen(self) -> scan.Seen:
        here = os.path.realpath(os.getcwd())
        script = Path(self.trial.target.name)
        beside = [] if self.trial.target.words[0] == "-m" else [str(script.resolve().parent)]
        folders = [here, *(b for b in beside if not f"{b}{os.sep}".startswith(f"{here}{os.sep}"))]
        return scan.seen(folders, self._spared)

    def _drop(self) -> None:
        plan = self.trial.plan
        self.trial.dropped = order.dropped(
            plan.arms,
            self.trial.runs,
            halving=plan.halving,
            higher_is_better=plan.higher_is_better,
        )

    def _progress(self) -> Progress:
        runs = self.trial.runs
        left = [k for k in self._wanted if k not in runs and k[0] not in self.trial.dropped]
        seconds = [r.seconds for r in runs.values()]
        guess = sum(seconds) / len(seconds) * len(left) / self._executor.room if seconds else None
        return Progress(
            len(self._wanted) - len(left), len(self._wanted), guess, list(self._running.values())
        )


def _in_order(folder: Path) -> tuple[str, ...]:
    try:
        return put_in_order(folder)
    except OSError as error:
        raise NormscopeError(
            f"A run of an earlier trial left files that cannot be put back: {error}. They are kept in {folder}."
        ) from None


def _some(paths: Sequence[str]) -> str:
    shown = [os.path.relpath(p) for p in paths[:3]]
    return ", ".join(shown) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
