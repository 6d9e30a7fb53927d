"""One SQLite file per recording: written in batches while the run goes on, readable at any time.

Write-ahead logging keeps the file whole when the process is killed, and lets a second process read it live. Values are
MessagePack of the recording's own structures, so that NaN and infinities survive.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from normscope.errors import NormscopeError
from normscope.graph import model as graph_model
from normscope.probes.answers.batch_size import BatchSize
from normscope.probes.answers.coupling import Coupling
from normscope.probes.answers.domain import Domain
from normscope.probes.answers.flow import Flow
from normscope.probes.answers.noise import Noise
from normscope.probes.answers.regularization import Regularization
from normscope.probes.observations import (
    DropoutShifts,
    Independence,
    OwnStatistics,
    Padding,
    Signal,
)
from normscope.probes.results import Gap
from normscope.record.recording import (
    SERIES,
    Channels,
    Contrast,
    Cost,
    Event,
    Gradients,
    GradientSample,
    Layer,
    Model,
    Parameter,
    Pattern,
    Polls,
    Recording,
    Scalars,
    Span,
)
from normscope.record.written import Source, Written

APPLICATION: Final = 0x4E534350  # "NSCP": marks the file as ours
VERSION: Final = 1
MEASUREMENTS: Final[dict[str, type[Any]]] = {
    "gap": Gap,
    "batch_size": BatchSize,
    "regularization": Regularization,
    "stand_in": Gap,
    "independence": Independence,
    "signal": Signal,
    "dropout": DropoutShifts,
    "padding": Padding,
    "own_statistics": OwnStatistics,
    "coupling": Coupling,
    "domain": Domain,
    "noise": Noise,
    "flow": Flow,
}

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
CREATE TABLE things (kind TEXT, id INTEGER, value BLOB, PRIMARY KEY (kind, id)) WITHOUT ROWID;
CREATE TABLE polls (step INTEGER PRIMARY KEY, layers BLOB, data BLOB);
CREATE TABLE scalars (step INTEGER PRIMARY KEY, loss REAL, lr REAL);
CREATE TABLE channels (layer INTEGER PRIMARY KEY, data BLOB);
CREATE TABLE measurements (name TEXT, value BLOB);
CREATE TABLE metrics (name TEXT, step INTEGER, value REAL);
"""


class Store:
    """The writing end. Nothing touches the disk before `flush`; entities with the same id replace each other."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._db = connection
        self._lock = threading.RLock()
        self._things: dict[tuple[str, int], msgspec.Struct] = {}
        self._rows: list[tuple[str, tuple[object, ...]]] = []

    @classmethod
    def create(cls, path: Path | str) -> Store:
        """A new recording at `path`, in place of an older one.

        Raises:
            NormscopeError: the folder cannot be written, or a file that is no recording is in the way.
        """
        path = Path(path)
        if path.exists():
            if not _is_recording(path):
                raise NormscopeError(
                    f"`{path}` exists and is not a normscope recording, so it is not overwritten. "
                    "Choose another file with `--record FILE`."
                )
            _remove(path)
        try:
            db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            # Into the file itself, before a log takes the rest: a killed recording must be known for one.
            db.execute(f"PRAGMA application_id = {APPLICATION}")
            db.execute(f"PRAGMA user_version = {VERSION}")
            db.execute("PRAGMA journal_mode = WAL")
            # A killed process loses nothing that was handed to the kernel; waiting for the disk would cost the user's loop.
            db.execute("PRAGMA synchronous = OFF")
            db.executescript(_SCHEMA)
        except (sqlite3.Error, OSError) as error:
            raise NormscopeError(
                f"Cannot write the recording `{path}` ({error}). Choose another place with `--record FILE`."
            ) from None
        return cls(path, db)

    def put_meta(self, key: str, value: object) -> None:
        """Keep a fact of the run; on the disk at once."""
        with self._lock:
            self._db.execute(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, msgspec.msgpack.encode(value))
            )

    def put_meta_soon(self, key: str, value: object) -> None:
        """Keep a fact of the run that changes all the time; on the disk with the next flush."""
        self._row("INSERT OR REPLACE INTO meta VALUES (?, ?)", key, msgspec.msgpack.encode(value))

    def put(self, kind: str, number: int, value: msgspec.Struct) -> None:
        """Keep or replace one entity. It is encoded at the next flush, so later changes to it are kept too."""
        with self._lock:
            self._things[kind, number] = value

    def put_graph(self, graph: graph_model.Graph, number: int | None = None) -> None:
        """Keep the graph of a model, in place of an earlier one of that `number` (by default the model's own)."""
        self._row(
            "INSERT OR REPLACE INTO things VALUES ('graph', ?, ?)",
            graph.model if number is None else number,
            graph_model.dumps(graph),
        )

    def put_poll(self, step: int, layers: NDArray[np.int32], data: NDArray[np.float32]) -> None:
        """Running statistics at a step: `data` has shape (len(SERIES), len(layers))."""
        self._row(
            "INSERT OR REPLACE INTO polls VALUES (?, ?, ?)", step, layers.tobytes(), data.tobytes()
        )

    def drop_polls(self, steps: Iterable[int]) -> None:
        for step in steps:
            self._row("DELETE FROM polls WHERE step = ?", step)

    def put_scalar(self, step: int, loss: float, lr: float) -> None:
        self._row("INSERT OR REPLACE INTO scalars VALUES (?, ?, ?)", step, loss, lr)

    def drop_scalars(self, steps: Iterable[int]) -> None:
        for step in steps:
            self._row("DELETE FROM scalars WHERE step = ?", step)

    def put_channels(self, layer: int, data: NDArray[np.float64]) -> None:
        """Statistics per channel: rows running mean and variance, then, if measured, population mean and variance."""
        self._row("INSERT OR REPLACE INTO channels VALUES (?, ?)", layer, data.tobytes())

    def put_measurement(self, name: str, value: msgspec.Struct) -> None:
        self._row("INSERT INTO measurements VALUES (?, ?)", name, msgspec.msgpack.encode(value))

    def put_metric(self, name: str, step: int, value: float) -> None:
        self._row("INSERT INTO metrics VALUES (?, ?, ?)", name, step, value)

    def _row(self, statement: str, *values: object) -> None:
        with self._lock:
            self._rows.append((statement, values))

    def flush(self) -> None:
        """Hand everything to the disk in one transaction."""
        with self._lock:
            things, self._things = self._things, {}
            rows, self._rows = self._rows, []
            if not things and not rows:
                return
            self._db.execute("BEGIN")
            for (kind, number), value in things.items():
                self._db.execute(
                    "INSERT OR REPLACE INTO things VALUES (?, ?, ?)",
                    (kind, number, msgspec.msgpack.encode(value)),
                )
            for statement, values in rows:
                self._db.execute(statement, values)
            self._db.execute("COMMIT")

    def close(self) -> None:
        with self._lock:
            self.flush()
            with suppress(
                sqlite3.OperationalError
            ):  # somebody reads it just now: then the log stays
                self._db.execute("PRAGMA journal_mode = DELETE")
            self._db.close()


def load(path: Path | str) -> Recording:
    """Read a recording, finished or not.

    Raises:
        NormscopeError: there is no such file, it is no recording, it is damaged, or a newer normscope wrote it.
    """
    path = Path(path)
    if not path.is_file():
        raise NormscopeError(f"There is no recording `{path}`. `normscope run train.py` makes one.")
    try:
        with closing(_open(path)) as db:
            [application] = db.execute("PRAGMA application_id").fetchone()
            [version] = db.execute("PRAGMA user_version").fetchone()
            if application != APPLICATION:
                raise NormscopeError(f"`{path}` is not a normscope recording (`*.nscope`).")
            if version > VERSION:
                raise NormscopeError(
                    f"`{path}` was written by a newer normscope (format {version}, this one reads {VERSION}). Upgrade normscope."
                )
            db.execute("BEGIN")  # one state of a file that is being written
            recording = _read(db)
            recording.file = str(path)
            return recording
    except sqlite3.DatabaseError as error:
        raise NormscopeError(f"`{path}` is not a readable normscope recording ({error}).") from None
    except (msgspec.DecodeError, ValueError, TypeError, LookupError, OverflowError) as error:
        raise NormscopeError(
            f"The recording `{path}` is damaged ({error}). Record again."
        ) from None


def set_status(path: Path | str, status: str) -> None:
    """Say how a run ended that could not say it itself; a status that it did say is kept. The recording becomes one file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        row = db.execute("SELECT value FROM meta WHERE key = 'status'").fetchone()
        if row is None or msgspec.msgpack.decode(row[0]) == "running":
            db.execute(
                "INSERT OR REPLACE INTO meta VALUES ('status', ?)",
                (msgspec.msgpack.encode(status),),
            )
        with suppress(sqlite3.OperationalError):  # a process that outlived the script has it open
            db.execute("PRAGMA journal_mode = DELETE")


def _open(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    try:
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        # In a folder that cannot be written, a write-ahead log can only be read as it lies.
        db.close()
        db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
    return db


def _is_recording(path: Path) -> bool:
    """Whether the file is ours, or empty."""
    try:
        with path.open("rb") as file:
            head = file.read(72)
    except OSError:
        return False
    return not head or (
        head[:15] == b"SQLite format 3" and int.from_bytes(head[68:72]) == APPLICATION
    )


def _remove(path: Path) -> None:
    try:
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    except OSError as error:
        raise NormscopeError(
            f"Cannot replace the recording `{path}` ({error}). Choose another place with `--record FILE`."
        ) from None


def _read(db: sqlite3.Connection) -> Recording:
    meta: dict[str, Any] = {
        k: msgspec.msgpack.decode(v) for k, v in db.execute("SELECT * FROM meta")
    }
    r = Recording(
        target=meta.get("target", ""),
        framework=meta.get("framework", "torch"),
        framework_version=meta.get("framework_version", ""),
        backend=meta.get("backend", ""),
        arguments=tuple(meta.get("arguments", ())),
        started=meta.get("started", 0.0),
        status=meta.get("status", "unknown"),
        steps=meta.get("steps", 0),
        optimizers=meta.get("optimizers", []),
    )
    if "cost" in meta:
        r.cost = msgspec.convert(meta["cost"], Cost)
    r.models = dict(_things(db, "model", Model))
    r.layers = dict(_things(db, "layer", Layer))
    r.patterns = dict(_things(db, "pattern", Pattern))
    _drop_unknown(r)
    r.spans = [v for _, v in _things(db, "span", Span)]
    r.events = [v for _, v in _things(db, "event", Event)]
    r.contrasts = [v for _, v in _things(db, "contrast", Contrast)]
    r.written = [v for _, v in _things(db, "written", Written)]
    r.sources = {v.file: v for _, v in _things(db, "source", Source)}
    if "keras" in meta:
        r.events.append(Event(kind="keras", detail=str(meta["keras"])))
    for [data] in db.execute("SELECT value FROM things WHERE kind = 'graph' ORDER BY id"):
        r.graphs.append(graph_model.loads(data))
    r.polls = _polls(db)
    rows = db.execute("SELECT step, loss, lr FROM scalars ORDER BY step").fetchall()
    if rows:
        steps, loss, lr = (
            np.array([np.nan if v is None else v for v in c]) for c in zip(*rows, strict=True)
        )
        r.scalars = Scalars(steps.astype(np.int64), loss, lr)
    if samples := [v for _, v in _things(db, "gradients", GradientSample)]:
        r.gradients = Gradients.of((v for _, v in _things(db, "parameter", Parameter)), samples)
    for layer, data in db.execute("SELECT layer, data FROM channels"):
        if layer in r.layers and (channels := r.layers[layer].channels):
            r.channels[layer] = Channels(*np.frombuffer(data, np.float64).reshape(-1, channels))
    for name, data in db.execute("SELECT name, value FROM measurements"):
        if kind := MEASUREMENTS.get(name):
            r.measurements.setdefault(name, []).append(msgspec.msgpack.decode(data, type=kind))
    for name, step, value in db.execute("SELECT name, step, value FROM metrics ORDER BY step"):
        r.metrics.setdefault(name, []).append((step, value))
    return r


def _drop_unknown(r: Recording) -> None:
    """Take out calls of layers whose facts were not written: observing broke off before."""
    for number, pattern in r.patterns.items():
        calls = tuple(c for c in pattern.calls if c.layer in r.layers)
        if len(calls) < len(pattern.calls):
            r.patterns[number] = msgspec.structs.replace(pattern, calls=calls)


def _things(db: sqlite3.Connection, kind: str, of: type[Any]) -> list[tuple[int, Any]]:
    rows = db.execute("SELECT id, value FROM things WHERE kind = ? ORDER BY id", (kind,))
    return [(i, msgspec.msgpack.decode(v, type=of)) for i, v in rows]


def _polls(db: sqlite3.Connection) -> Polls | None:
    rows = db.execute("SELECT step, layers, data FROM polls ORDER BY step").fetchall()
    if not rows:
        return None
    ids = [np.frombuffer(layers, dtype=np.int32) for _, layers, _ in rows]
    every = sorted({int(i) for row in ids for i in row})
    column = {layer: k for k, layer in enumerate(every)}
    cube = np.full((len(SERIES), len(rows), len(every)), np.nan, dtype=np.float32)
    for i, (row, (_, _, data)) in enumerate(zip(ids, rows, strict=True)):
        cube[:, i, [column[int(x)] for x in row]] = np.frombuffer(data, np.float32).reshape(
            len(SERIES), -1
        )
    steps = np.array([s for s, _, _ in rows], dtype=np.int64)
    return Polls(steps, tuple(every), {name: cube[k] for k, name in enumerate(SERIES)})
