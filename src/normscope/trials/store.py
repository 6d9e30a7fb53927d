"""Finished runs in one SQLite file: a trial that is started again repeats none of them."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from normscope.errors import NormscopeError
from normscope.trials.outcome import digest_of
from normscope.trials.results import Plan, Run

APPLICATION, VERSION = 0x4E534354, 1  # "NSCT"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (digest TEXT, arm TEXT, seed INTEGER, data BLOB, PRIMARY KEY (digest, arm, seed));
CREATE TABLE IF NOT EXISTS facts (digest TEXT, name TEXT, data BLOB, PRIMARY KEY (digest, name));
"""


class TrialStore:
    """One trial at a time holds it; every run is on the disk as soon as it is there.

    Raises NormscopeError where the file cannot be written, is none of ours, or is held by a trial that runs now.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.exists() and path.stat().st_size and not is_trial(path):
            raise NormscopeError(
                f"`{path}` exists and is not the record of a trial, so it is not overwritten. Choose another file with `--record FILE`."
            )
        try:
            self.files = files_of(path)
            self.files.mkdir(exist_ok=True)
            self._lock = os.open(self.files / "lock", os.O_WRONLY | os.O_CREAT, 0o600)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute(f"PRAGMA application_id = {APPLICATION}")
            self._db.execute(f"PRAGMA user_version = {VERSION}")
            self._db.executescript(_SCHEMA)
        except (sqlite3.Error, OSError) as error:
            raise NormscopeError(
                f"Cannot write the record of the trial, `{path}` ({error}). Choose another place with `--record FILE`."
            ) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise NormscopeError(
                f"A trial with the record `{path}` is running now. Wait for it, or choose another file with `--record FILE`."
            ) from None

    def runs(self, digest: str) -> tuple[list[Run], int]:
        """The finished runs of a plan, and how many more there are of other versions of the user's modules."""
        found: list[Run] = []
        old = 0
        digests: dict[str, str] = {}
        for (data,) in self._db.execute("SELECT data FROM runs WHERE digest = ?", (digest,)):
            run = msgspec.json.decode(data, type=Run)
            for file in run.sources:
                if file not in digests:
                    digests[file] = digest_of(file)
            if all(digests[f] == known for f, known in run.sources.items()):
                found.append(run)
            else:
                old += 1
        return found, old

    def put(self, digest: str, run: Run) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?)",
            (digest, run.arm, run.seed, msgspec.json.encode(run)),
        )

    def drop(self, digest: str, arms: Iterable[str]) -> None:
        """Forget the runs of these arms."""
        for arm in arms:
            self._db.execute("DELETE FROM runs WHERE digest = ? AND arm = ?", (digest, arm))

    def fact(self, digest: str, name: str) -> Any:
        """None where it is not known."""
        row = self._db.execute(
            "SELECT data FROM facts WHERE digest = ? AND name = ?", (digest, name)
        ).fetchone()
        return None if row is None else msgspec.json.decode(row[0])

    def put_fact(self, digest: str, name: str, value: object) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO facts VALUES (?, ?, ?)",
            (digest, name, msgspec.json.encode(value)),
        )

    def put_plan(self, plan: Plan) -> None:
        """The plan that was asked for last."""
        self.put_fact("", "plan", plan)

    def put_notes(self, notes: Sequence[str]) -> None:
        """What the trial that was carried out last had to tell besides."""
        self.put_fact("", "notes", notes)

    def close(self) -> None:
        self._db.close()
        os.close(self._lock)


def files_of(record: Path) -> Path:
    """The folder of a trial's runs: their logs and what they wrote."""
    return record.absolute().with_suffix(".files")


def is_trial(path: Path) -> bool:
    """Whether a file is the record of a trial."""
    try:
        with path.open("rb") as file:
            head = file.read(100)
    except OSError:
        return False
    return head[:15] == b"SQLite format 3" and head[68:72] == APPLICATION.to_bytes(4, "big")
