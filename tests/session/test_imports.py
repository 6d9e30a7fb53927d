"""Observing begins when the script imports a framework, and whatever fails in it is ours alone."""

from __future__ import annotations

import sys
from importlib.machinery import SourceFileLoader

import pytest

from normscope.record.store import load
from normscope.session.imports import ImportWatch

NAME = "watched_by_normscope"


@pytest.fixture
def watched(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    yield tmp_path / f"{NAME}.py"
    sys.modules.pop(NAME, None)


def test_it_calls_once_and_leaves_no_trace(watched):
    watched.write_text("LOADED = True")
    calls = []
    ImportWatch(NAME, lambda module: calls.append(module.LOADED)).install()
    module = __import__(NAME)
    __import__(NAME)
    assert calls == [True]
    assert type(module.__loader__) is type(module.__spec__.loader) is SourceFileLoader
    assert set(vars(module.__loader__)) == {"name", "path"}
    assert not any(isinstance(f, ImportWatch) for f in sys.meta_path)


def test_looking_is_not_importing(watched):
    import importlib.util

    watched.write_text("")
    calls = []
    ImportWatch(NAME, calls.append).install()
    assert importlib.util.find_spec(NAME) is not None
    assert calls == []
    __import__(NAME)
    assert len(calls) == 1


def test_a_failed_import_is_watched_again(watched):
    watched.write_text("1 / 0")
    calls = []
    ImportWatch(NAME, calls.append).install()
    with pytest.raises(ZeroDivisionError):
        __import__(NAME)
    assert calls == []
    watched.write_text("LOADED = True  # of another length")
    __import__(NAME)
    assert len(calls) == 1


def test_what_is_there_already_counts_at_once(watched):
    calls = []
    ImportWatch("json", calls.append).install()
    assert calls == [sys.modules["json"]] or "json" not in sys.modules


def test_an_observer_that_cannot_start_is_told_and_harms_nothing(desk):
    desk.write("torch/__init__.py", "print('a torch that is none')")
    desk.write(
        "train.py", "import torch; print('trained', torch.__spec__.loader is torch.__loader__)"
    )
    ended = desk.observed("train.py")
    assert ended.returncode == 0
    assert ended.stdout == b"a torch that is none\ntrained True\n"
    [event] = load(desk.folder / "train.nscope").events_of("observer-error")
    assert "Error" in event.detail
    assert b"observer-error" in ended.stderr


def test_keras_is_not_evaluated(desk):
    desk.write("keras.py", "__version__ = '3.9'")
    desk.write("train.py", "import keras")
    ended = desk.observed("train.py")
    assert b"not evaluated" in ended.stderr
    assert b"Keras" in ended.stderr


def test_a_recording_that_vanished_harms_nothing(desk):
    desk.write("keras.py", "__version__ = '3.9'")
    desk.write(
        "train.py",
        "import os, shutil\nd = os.getcwd()\nos.chdir('/')\nshutil.rmtree(d + '/records')\nos.sys.path.append(d)\nimport keras\nprint('trained')",
    )
    (desk.folder / "records").mkdir()
    ended = desk.observed("--record", "records/r.nscope", "train.py")
    assert (ended.returncode, ended.stdout) == (0, b"trained\n")
    assert b"Traceback" not in ended.stderr


def test_forked_children_write_nothing(desk):
    desk.write("keras.py", "__version__ = '3.9'")
    desk.write(
        "train.py",
        """
        import os, sys
        import keras
        if os.fork() == 0:
            raise SystemExit(9)  # runs the exit handlers, in the child
        os.wait()
        if os.fork() == 0:
            raise ValueError("in the child")
        os.wait()
        """,
    )
    ended = desk.observed("train.py")
    assert ended.returncode == 0
    assert load(desk.folder / "train.nscope").status == "exit 0"
    assert ended.stderr.count(b"Verdict") == 1
