"""A store with made-up numbers, and the real digits."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple

import pytest

from normscope.cli import main
from normscope.lab.data import Data, load
from normscope.lab.running import Done, Task, measured


@pytest.fixture(scope="session")
def digits() -> Data:
    return load("digits", None)


class Here:
    """An executor that measures in this process, when it is asked."""

    room, threads, note = 1, None, ""

    def submit(self, job: Task) -> Future[Done]:
        future: Future[Done] = Future()
        future.set_result(measured(job))
        return future

    def learn(self, run: object) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def here() -> Here:
    return Here()


class Answer(NamedTuple):
    """What a command line gave."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def normscope(tmp_path, monkeypatch, capsys) -> Callable[..., Answer]:
    """Run the command line in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> Answer:
        capsys.readouterr()
        code = main(words)
        return Answer(code, *capsys.readouterr())

    return run


@pytest.fixture
def claims_of() -> Callable[[Answer], list[dict[str, object]]]:
    """The parsed `claims` of a JSON answer."""
    return lambda result: json.loads(result.stdout)["claims"]
