"""A faulty twin, the repair that is proposed applied to a copy, and what the copy then does beside the healthy twin."""

from __future__ import annotations

import io
import os
import random
import re
import shutil
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from normscope.diagnosis import Diagnosis, diagnose
from normscope.record.recording import Recording
from normscope.record.store import Store, load
from normscope.repairs.source.advice import edited, plan, wanted
from normscope.repairs.source.edits import (
    Edit,
    EvaluationMode,
    RefusedError,
    SetKeyword,
    TrainingMode,
)
from normscope.repairs.source.patch import diff

from .cases import Case
from .recalibrated import has_call, with_call
from .warm import ALL, _read_nothing, execute

NUMBER = re.compile(r"(?<![\w.])-?\d+\.\d+(?:e[-+]?\d+)?|\bnan\b", re.IGNORECASE)
CLOSE = 0.05  # of the healthy figure


@dataclass(frozen=True, slots=True)
class Ran:
    """One observed run: what it printed, how it ended, and the diagnosis of its recording."""

    printed: str
    error: str
    diagnosis: Diagnosis

    @property
    def figures(self) -> list[float]:
        """The numbers with a decimal point in the last line that has one; a script that failed has none to show."""
        lines = [found for line in self.printed.splitlines() if (found := NUMBER.findall(line))]
        return [float(x) for x in lines[-1]] if lines and not self.error else []

    @property
    def codes(self) -> set[str]:
        return {f.code for f in self.diagnosis.findings if f.severity != "info"}


@dataclass(frozen=True, slots=True)
class Mended:
    """The faulty twin, the healthy one, and the faulty one with the edits that were proposed (None: there were none).

    `random` are runs of it with an edit chosen at random (None: none fits).
    """

    case: Case
    faulty: Ran
    healthy: Ran
    edited: Ran | None
    diff: str
    refused: tuple[str, ...]
    random: tuple[Ran | None, ...] = ()

    @property
    def _place(self) -> int | None:
        """The figure in which the twins differ most."""
        bad, good = self.faulty.figures, self.healthy.figures
        return max(range(len(good)), key=lambda i: _apart(bad, good, i), default=None)

    def figure_of(self, ran: Ran | None) -> float | None:
        figures = ran.figures if ran else []
        place = self._place
        return (
            None if place is None or len(figures) != len(self.healthy.figures) else figures[place]
        )

    @property
    def figure(self) -> tuple[float | None, float | None, float | None]:
        """That of the faulty, the edited and the healthy twin."""
        return (
            self.figure_of(self.faulty),
            self.figure_of(self.edited),
            self.figure_of(self.healthy),
        )

    @property
    def apart(self) -> bool:
        """Whether the twins differ by more than 5 % of the healthy figure, or in that only one of them ends well."""
        bad, _, good = self.figure
        return good is not None and (bad is None or abs(bad - good) > CLOSE * abs(good))

    @property
    def restored(self) -> bool | None:
        """Whether the edited twin is as good as the healthy one; None: nothing was edited."""
        return None if self.edited is None else self.as_good(self.edited)

    def as_good(self, ran: Ran | None) -> bool:
        """Whether a run is as good as the healthy twin, or better, up to 5 %."""
        bad, new, good = (
            self.figure_of(self.faulty),
            self.figure_of(ran),
            self.figure_of(self.healthy),
        )
        if new is None or good is None:
            return False
        better = 1.0 if bad is None or good >= bad else -1.0
        return better * (new - good) >= -CLOSE * abs(good)


def _apart(bad: list[float], good: list[float], i: int) -> float:
    if len(bad) != len(good):
        return -i  # the first: nothing tells which of them matters
    if bad[i] != bad[i]:
        return float("inf")
    return abs(bad[i] - good[i]) / (abs(good[i]) + 1e-9)


def mend(case: Case, tries: int = 0) -> Mended:
    """Run both twins, the faulty one with the proposed repair, and `tries` times with a random edit."""
    with _copy(case.path) as (script, record):
        faulty = observed(script, record)
        recording = load(record)
        text, refused = _repaired(case, script, recording, faulty.diagnosis)
        after = observed(script, record) if text else None
        by_chance: list[Ran | None] = []
        for seed in range(tries):
            shutil.copytree(case.path.parent, script.parent, dirs_exist_ok=True)
            fits = at_random(recording, random.Random(f"{case.name} {seed}"))
            by_chance.append(observed(script, record) if fits else None)
    with _copy(case.path.with_name("healthy.py")) as (script, record):
        healthy = observed(script, record)
    return Mended(
        case,
        faulty,
        healthy,
        after,
        text,
        refused,
        tuple(by_chance),
    )


def _repaired(
    case: Case, script: Path, recording: Recording, diagnosis: Diagnosis
) -> tuple[str, tuple[str, ...]]:
    """Apply what is proposed; the difference as a diff, and why there is none."""
    if has_call(case):
        before = script.read_bytes()
        if case.rule not in {f.code for f in diagnosis.findings}:
            return "", ("the finding that proposes it is not there",)
        script.write_text(with_call(case, before.decode()), encoding="utf-8")
        return diff(script.name, before, script.read_bytes(), "utf-8"), ()
    made = plan(recording, wanted(diagnosis.findings))
    for file in made.files:
        file.path.write_bytes(file.after)
    here = f"{script.parent}{os.sep}"
    return (
        "".join(f.diff.replace(here.lstrip(os.sep), "") for f in made.files),
        tuple(str(r).replace(here, "") for a in made.advice for r in a.refusals),
    )


def at_random(recording: Recording, chance: random.Random) -> str:
    """Apply a random edit to every place that it fits; what was done, empty when nothing fits."""
    kinds = ["bias", "momentum", "eps", "drop_last", "shuffle", "eval", "train"]
    chance.shuffle(kinds)
    for kind in kinds:
        done: list[str] = []
        by_file: dict[str, list[Edit]] = {}
        for edit in _fitting(recording, kind, chance):
            by_file.setdefault(recording.sources[edit.place.file].path, []).append(edit)
        for path, edits in by_file.items():
            source, good = Path(path).read_bytes(), list[Edit]()
            for edit in edits:
                try:
                    edited(source, [*good, edit])
                except RefusedError:
                    continue
                good.append(edit)
            after = edited(source, good)
            if after != source:
                Path(path).write_bytes(after)
                done.append(f"{kind} in {Path(path).name}\n")
        if done:
            return "".join(done)
    return ""


def _fitting(recording: Recording, kind: str, chance: random.Random) -> Iterator[Edit]:
    momentum, eps = chance.choice(["0.01", "0.1", "0.3", "None"]), chance.choice(["1e-05", "0.001"])
    values = {
        "bias": ("affine", "False"),
        "momentum": ("norm", momentum),
        "eps": ("norm", eps),
        "drop_last": ("loader", "True"),
        "shuffle": ("loader", "True"),
    }
    for call in recording.written:
        if kind == "eval" and call.kind == "forward":
            yield EvaluationMode(call.place, restore=True)
        elif kind == "train" and call.kind == "forward":
            yield TrainingMode(call.place)
        elif kind in values and call.kind == values[kind][0] and kind in call.parameters:
            yield SetKeyword(call.place, kind, values[kind][1], call.parameters, call.open)


@contextmanager
def _copy(script: Path) -> Iterator[tuple[Path, Path]]:
    """A copy of the script with what lies beside it, and the place for a recording."""
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder) / "twin"
        shutil.copytree(script.parent, copied, ignore=shutil.ignore_patterns("__pycache__"))
        yield copied / script.name, Path(folder) / "run.nscope"


def observed(script: Path, record: Path) -> Ran:
    """Run the script in a fork of this process, which should be warm."""
    sys.stdout.flush()
    sys.stderr.flush()
    log = record.with_suffix(".log")
    child = os.fork()
    if child == 0:
        try:
            _read_nothing()
            os.chdir(record.parent)
            printed, error = _watched(script, record)
            log.write_text(f"{printed}\0{error}", encoding="utf-8")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    printed, _, error = log.read_text(encoding="utf-8").partition("\0")
    return Ran(printed, error, diagnose(load(record)))


def _watched(script: Path, record: Path) -> tuple[str, str]:
    from normscope.keras import finish as finish_keras
    from normscope.keras import observe as observe_keras
    from normscope.live import finish, observe

    warnings.resetwarnings()  # pytest makes errors of them
    printed, error = io.StringIO(), ""
    store = Store.create(record)
    observer = observe(store, budget=ALL)
    keras_observer = observe_keras(store, budget=ALL, keep_bytes=64 << 20, steps=None)
    try:
        with redirect_stdout(printed), redirect_stderr(io.StringIO()):
            execute(script)
    except Exception as problem:
        error = traceback.format_exc()
        observer.event("crash", detail=f"{type(problem).__name__}: {problem}")
    finally:
        with redirect_stdout(io.StringIO()):
            finish(observer, probe=not error)
            finish_keras(keras_observer, probe=not error)
        store.close()
    return printed.getvalue(), error
