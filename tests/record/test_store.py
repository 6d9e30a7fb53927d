"""The file: readable while it grows and after a kill, never in place of what is not ours, one clear line when it cannot be read."""

from __future__ import annotations

import itertools
import math
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np
import pytest

from normscope.errors import NormscopeError
from normscope.graph.model import Site
from normscope.graph.sketch import sketch
from normscope.record.recording import (
    SERIES,
    Call,
    Cost,
    Event,
    Layer,
    Model,
    Pattern,
    Recording,
    Span,
)
from normscope.record.store import VERSION, Store, load, set_status

MODEL = Model(id=0, name="Net", parameters=7, norm_layers=2, optimized_share=0.5, feeds=(1,))
LAYERS = [
    Layer(id=0, model=0, path="a", type="BatchNorm1d", channels=2, site=Site("train.py", 4)),
    Layer(id=1, model=0, path="b", type="BatchNorm1d", channels=3, momentum=None),
]
PATTERN = Pattern(0, 0, True, (Call(0, True, True, 8, 32), Call(1, False, False, 8, 8, None, True)))
SPAN = Span(
    pattern=0, kind="training", first_step=0, last_step=4, forwards=5, followed_by={"end": 1}
)
DRAWN = "a = conv(x); b = batch_norm(a, channels=2, path='a'); y = output(b)"
EVENT = Event(kind="nonfinite", step=3, layer=1, detail="running_var[0] is nan", since_step=2)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.nscope"


def write(path: Path) -> None:
    """A small recording of everything that one can hold."""
    store = Store.create(path)
    meta = {
        "target": "train.py",
        "framework_version": "2.13",
        "arguments": ("--lr", "0.1"),
        "started": 12.5,
        "status": "exit 0",
        "steps": 5,
        "optimizers": ["SGD"],
        "cost": msgspec.to_builtins(Cost(observing=1.0, loop=101.0)),
    }
    for key, value in meta.items():
        store.put_meta(key, value)
    store.put("model", 0, MODEL)
    for layer in LAYERS:
        store.put("layer", layer.id, layer)
    store.put("pattern", 0, PATTERN)
    store.put("span", 0, SPAN)
    store.put("event", 0, EVENT)
    store.put_graph(sketch(DRAWN))
    table = np.arange(2 * len(SERIES), dtype=np.float32).reshape(len(SERIES), 2)
    store.put_poll(1, np.array([0, 1], dtype=np.int32), table)
    store.put_poll(3, np.array([1], dtype=np.int32), np.full((len(SERIES), 1), np.nan, np.float32))
    for step, loss in ((1, 0.5), (2, math.nan), (3, math.inf)):
        store.put_scalar(step, loss, 0.1)
    store.put_channels(1, np.arange(12.0).reshape(4, 3))
    store.put_metric("accuracy", 5, 0.75)
    store.close()


def test_what_is_written_is_read(path: Path) -> None:
    write(path)
    r = load(path)
    assert (r.target, r.framework_version, r.arguments) == ("train.py", "2.13", ("--lr", "0.1"))
    assert (r.started, r.status, r.steps, r.optimizers) == (12.5, "exit 0", 5, ["SGD"])
    assert r.cost == Cost(observing=1.0, loop=101.0)
    assert r.cost.overhead == pytest.approx(0.01)
    assert r.models == {0: MODEL}
    assert list(r.layers.values()) == LAYERS
    assert r.patterns == {0: PATTERN}
    assert r.spans == [SPAN]
    assert r.events == [EVENT]
    assert list(r.graphs[0]) == list(sketch(DRAWN))
    assert r.polls is not None
    assert r.polls.steps.tolist() == [1, 3]
    assert r.polls.layers == (0, 1)
    assert r.polls.values[SERIES[1]][0].tolist() == [2.0, 3.0]
    assert np.isnan(r.polls.values[SERIES[0]][1]).all()
    assert r.scalars is not None
    assert r.scalars.loss[0] == 0.5
    assert math.isnan(r.scalars.loss[1])
    assert r.scalars.loss[2] == math.inf
    measured = r.channels[1]
    assert measured.population_mean is not None
    assert measured.running_var.tolist() == [3.0, 4.0, 5.0]
    assert measured.population_mean.tolist() == [6.0, 7.0, 8.0]
    assert r.metrics == {"accuracy": [(5, 0.75)]}


def test_nothing_is_on_the_disk_before_a_flush_and_all_after_it(path: Path) -> None:
    store = Store.create(path)
    store.put("model", 0, MODEL)
    assert load(path).models == {}
    store.flush()
    assert load(path).models == {0: MODEL}
    store.put("model", 0, msgspec.structs.replace(MODEL, name="Other"))
    store.flush()
    assert [m.name for m in load(path).models.values()] == ["Other"]
    store.close()


def test_a_later_change_of_what_was_put_is_kept_too(path: Path) -> None:
    store = Store.create(path)
    span = Span(pattern=0, kind="inference", first_step=0, last_step=0)
    store.put("span", 0, span)
    span.forwards = 9
    store.close()
    assert load(path).spans == [span]


def test_what_is_dropped_is_gone(path: Path) -> None:
    store = Store.create(path)
    for step in range(4):
        store.put_scalar(step, 0.0, 0.1)
        store.put_poll(step, np.array([0], np.int32), np.zeros((len(SERIES), 1), np.float32))
    store.flush()
    store.drop_scalars([1, 2])
    store.drop_polls([0])
    store.close()
    r = load(path)
    assert r.scalars is not None
    assert r.scalars.steps.tolist() == [0, 3]
    assert r.polls is not None
    assert r.polls.steps.tolist() == [1, 2, 3]


KILLED = """
import os, signal, sys
from normscope.record.recording import Model
from normscope.record.store import Store

store = Store.create(sys.argv[1])
store.put_meta("status", "running")
for i in range(200):
    store.put("model", i, Model(id=i, name="flushed"))
    store.flush()
store.put("model", 200, Model(id=200, name="not yet"))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_writer_leaves_what_it_flushed(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    r = load(path)
    assert r.status == "running"
    assert sorted(r.models) == list(range(200))
    set_status(path, "signal 9")
    assert load(path).status == "signal 9"
    set_status(path, "exit 0")
    assert load(path).status == "signal 9"  # what is known is kept
    assert [p.name for p in path.parent.iterdir()] == ["run.nscope"]


def test_calls_of_a_layer_that_was_not_written_yet_are_left_out(path: Path) -> None:
    """Facts of layers are written later than the calls: what broke off between must be readable."""
    store = Store.create(path)
    store.put("pattern", 0, PATTERN)
    store.put("span", 0, SPAN)
    store.close()
    r = load(path)
    assert r.patterns[0].calls == ()
    assert r.spans == [SPAN]


def foreign_text(path: Path) -> None:
    path.write_text("epoch,loss\n1,0.5\n" * 20)


def foreign_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE users (name)")
        db.commit()


@pytest.mark.parametrize("make", [foreign_text, foreign_database])
def test_a_file_that_is_not_ours_is_neither_read_nor_replaced(path: Path, make: object) -> None:
    assert callable(make)
    make(path)
    before = path.read_bytes()
    with pytest.raises(NormscopeError, match="not a") as unreadable:
        load(path)
    with pytest.raises(NormscopeError, match="is not a normscope recording, so it is not") as kept:
        Store.create(path)
    for error in (unreadable, kept):
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)
    assert path.read_bytes() == before


def test_a_missing_file(path: Path) -> None:
    with pytest.raises(NormscopeError, match=r"There is no recording .* makes one"):
        load(path)
    with pytest.raises(NormscopeError, match="There is no recording"):
        load(path.parent)


def test_an_empty_file_may_be_replaced_but_not_read(path: Path) -> None:
    path.touch()
    with pytest.raises(NormscopeError, match="is not a normscope recording"):
        load(path)
    Store.create(path).close()
    assert load(path).models == {}


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NormscopeError, match=r"Cannot write the recording .*--record FILE"):
        Store.create(tmp_path / "none" / "run.nscope")


def test_a_newer_format(path: Path) -> None:
    write(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(NormscopeError, match=f"newer normscope .format {VERSION + 1}.* Upgrade"):
        load(path)


def test_damaged_files_are_read_or_refused_in_one_line(path: Path) -> None:
    write(path)
    good = path.read_bytes()
    chance = random.Random(0)
    refused: list[str] = []
    for _ in range(150):
        bad = bytearray(good)
        if chance.random() < 0.3:
            bad = bad[: chance.randrange(1, len(bad))]
        else:
            at = chance.randrange(len(bad) - 64)
            bad[at : at + 64] = chance.randbytes(64)
        path.write_bytes(bad)
        try:
            load(path)
        except NormscopeError as error:
            refused.append(str(error))
    assert 20 < len(refused) < 150
    assert all(str(path) in line and "\n" not in line for line in refused)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE things SET value = x'c1' WHERE kind = 'layer'",
        "UPDATE things SET value = x'80' WHERE kind = 'span'",
        "UPDATE polls SET data = x'00'",
        "UPDATE polls SET data = NULL",
        "UPDATE channels SET data = NULL",
        "UPDATE channels SET data = x'0000'",
        "UPDATE meta SET value = x'a1'",
        "DROP TABLE scalars",
    ],
)
def test_damage_inside_a_whole_file(path: Path, statement: str) -> None:
    write(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute(statement)
        db.commit()
    with pytest.raises(NormscopeError, match=r"run\.nscope") as refused:
        load(path)
    assert "\n" not in str(refused.value)


def test_reading_while_another_connection_writes(path: Path) -> None:
    store = Store.create(path)
    for i in range(50):
        store.put("model", i, Model(id=i, name="m"))
        store.put_scalar(i, 0.0, 0.1)
        store.flush()
        r = load(path)
        assert len(r.models) == i + 1
        assert r.scalars is not None
        assert len(r.scalars.steps) == i + 1
    store.close()


def test_a_closed_store_refuses(path: Path) -> None:
    store = Store.create(path)
    store.close()
    with pytest.raises(sqlite3.ProgrammingError):
        store.put_meta("status", "late")


def test_a_recording_takes_the_place_of_an_older_one(path: Path) -> None:
    write(path)
    Store.create(path).close()
    assert load(path) == Recording(file=str(path))


def test_a_killed_recording_can_be_replaced(path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    # Its log still lies beside it: it must not be played into the new one.
    assert path.with_name("run.nscope-wal").stat().st_size
    Store.create(path).close()
    assert load(path) == Recording(file=str(path))


def test_a_finished_recording_is_one_file(path: Path) -> None:
    write(path)
    assert [p.name for p in path.parent.iterdir()] == ["run.nscope"]
    assert load(path).steps == 5
    assert [p.name for p in path.parent.iterdir()] == ["run.nscope"]


def test_a_folder_is_no_recording(tmp_path: Path) -> None:
    with pytest.raises(NormscopeError, match="is not a normscope recording"):
        Store.create(tmp_path)


def test_one_state_is_read_while_another_thread_writes(path: Path) -> None:
    """Patterns and the spans that name them are written together, and so they are read."""
    store = Store.create(path)
    done = threading.Event()

    def write_on() -> None:
        for i in itertools.count():
            if done.is_set():
                return
            store.put("pattern", i, Pattern(i, 0, True, ()))
            store.put("span", i, Span(pattern=i, kind="training", first_step=i, last_step=i))
            store.flush()

    writer = threading.Thread(target=write_on)
    writer.start()
    try:
        read = [load(path) for _ in range(40)]
        while len(read[-1].spans) == len(read[0].spans):  # the writer had no turn yet
            read.append(load(path))
    finally:
        done.set()
        writer.join()
        store.close()
    assert all(len(r.patterns) == len(r.spans) for r in read)
