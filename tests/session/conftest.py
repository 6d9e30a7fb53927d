"""Runs tiny scripts twice, by Python alone and under observation, in a folder of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

RUN = (sys.executable, "-m", "normscope", "run")
# The two processes alone, without parser and diagnosis: most tests need no more, and it starts faster.
ALONE = """
import sys
from pathlib import Path
from normscope.session.parent import Settings, run
from normscope.session.signals import die_of
from normscope.session.target import target_of
ended = run(target_of(sys.argv[1:]), Settings(record=Path("run.nscope")))
if ended.signal is not None:
    die_of(ended.signal)
sys.exit(ended.code)
"""
Ended = subprocess.CompletedProcess


@pytest.fixture(scope="session", autouse=True)
def default_signals() -> Iterator[None]:
    """Scripts start with default signals, even if these tests run in the background or under nohup.

    A shell starts such processes with SIGINT or SIGHUP ignored, which children inherit; a handler is
    not inherited, so setting one gives the children the default.
    """
    ignored = {
        s: signal.signal(s, signal.default_int_handler)
        for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
        if signal.getsignal(s) is signal.SIG_IGN
    }
    yield
    for s in ignored:
        signal.signal(s, signal.SIG_IGN)


@dataclass
class Desk:
    """A folder with scripts in it."""

    folder: Path

    def write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return name

    def run(self, *command: str, **options: Any) -> Ended[bytes]:
        return subprocess.run(
            command,
            cwd=self.folder,
            capture_output=True,
            stdin=options.pop("stdin", None)
            or (None if "input" in options else subprocess.DEVNULL),
            env=os.environ | options.pop("env", {}),
            check=False,
            **options,
        )

    def start(self, *command: str, **options: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
        )

    def observed(self, *words: str, **options: Any) -> Ended[bytes]:
        return self.run(*RUN, *words, **options)

    def same(self, *words: str, flags: tuple[str, ...] = (), **options: Any) -> Ended[bytes]:
        """Run both ways; assert that status, stdout and stderr are equal, byte for byte."""
        plain = self.run(sys.executable, *flags, *words, **dict(options))
        ours = self.run(sys.executable, *flags, "-c", ALONE, *words, **dict(options))
        assert ours.stdout == plain.stdout
        assert ours.stderr == plain.stderr
        assert ours.returncode == plain.returncode
        return plain


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)
