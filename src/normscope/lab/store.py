"""Results of the lab's cells in one SQLite file: each is kept as soon as it is there, so that an interrupted run goes on where it was."""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from normscope.errors import NormscopeError
from normscope.lab.claim import Cell, Claim, Numbers, Results, Scale

TABLE = """create table if not exists results (
    key text primary key, experiment text, data text, scale text, cell text, numbers text, seconds real
)"""
DIGITS = 7  # that are kept of a number; measurements are in single precision


def key_of(experiment: str, cell: Cell, data: str, scale: str) -> str:
    """Cells of the same parameters are the same cell."""
    said = json.dumps([experiment, dict(cell), data, scale], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:24]


class Store:
    """`create` makes the file where there is none. Raises NormscopeError for a file that holds something else."""

    def __init__(self, path: Path, *, create: bool = True) -> None:
        if not create and not path.is_file():
            raise NormscopeError(
                f"`{path}` holds no results: there is no such file. Run claims first: `normscope lab --all --results {path}`."
            )
        if not path.parent.is_dir():
            raise NormscopeError(f"Cannot write `{path}`: there is no folder `{path.parent}`.")
        try:
            self._base = sqlite3.connect(path)
            self._base.execute(TABLE)
            self._base.execute("select key, numbers, seconds from results limit 1")
        except sqlite3.Error as error:
            raise NormscopeError(
                f"`{path}` is no file of results ({error}). Name another with `--results`."
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._base.close()

    def put(
        self, experiment: str, cell: Cell, data: str, scale: str, numbers: Numbers, seconds: float
    ) -> None:
        """`seconds` of processor time that measuring it took."""
        row = (
            key_of(experiment, cell, data, scale),
            experiment,
            data,
            scale,
            json.dumps(dict(cell)),
            json.dumps(_shortened(dict(numbers))),
            round(seconds, 2),
        )
        with self._base:
            self._base.execute("insert or replace into results values (?, ?, ?, ?, ?, ?, ?)", row)

    def holds(self, experiment: str, cell: Cell, data: str, scale: str) -> bool:
        """Not where a library was missing when it was asked: by now it may be there."""
        row = self._row(experiment, cell, data, scale)
        return row is not None and "missing" not in json.loads(row[0])

    def results(self, claim: Claim, scale: Scale, data: str) -> Results | None:
        """What the claim's design asks for; None where a cell is missing."""
        rows: list[tuple[Cell, Numbers]] = []
        for cell in claim.cells(scale):
            row = self._row(claim.runs, cell, data, scale.name)
            if row is None:
                return None
            rows.append((cell, json.loads(row[0])))
        return Results(rows)

    def seconds(self, claim: Claim, scale: Scale, data: str) -> float:
        """Of processor time that its cells took."""
        rows = [self._row(claim.runs, c, data, scale.name) for c in claim.cells(scale)]
        return math.fsum(r[1] for r in rows if r is not None)

    def _row(self, experiment: str, cell: Cell, data: str, scale: str) -> tuple[str, float] | None:
        found = self._base.execute(
            "select numbers, seconds from results where key = ?",
            (key_of(experiment, cell, data, scale),),
        )
        return found.fetchone()


def _shortened(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, Mapping):
        return {str(k): _shortened(v) for k, v in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, list | tuple):
        return [_shortened(v) for v in value]  # pyright: ignore[reportUnknownVariableType]
    return value
