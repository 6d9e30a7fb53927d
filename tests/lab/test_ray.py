"""Cells on the workers of a real Ray cluster on this machine: the same numbers, and a worker that dies loses none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from normscope.lab import running, table
from normscope.lab.claim import QUICK
from normscope.lab.executing import executor_of
from normscope.lab.store import Store

CLAIMS = [table.of_name(n) for n in ("redundant-bias", "one-operation")]
SOURCE = running.Source()


@pytest.fixture
def cluster():
    """Two processors; it ends with the process that this starts, and no other cluster does."""
    pytest.importorskip("ray")
    address = "127.0.0.1:26479"
    words = ["start", "--head", "--block", "--port=26479", "--num-cpus=2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "ray.scripts.scripts", *words, "--include-dashboard=false"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert any("Ray runtime started" in line for line in process.stdout)
    yield address
    process.send_signal(signal.SIGTERM)
    process.communicate()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_a_cluster_measures_the_same(cluster, here, tmp_path):
    with Store(tmp_path / "here.sqlite") as store:
        tasks = running.missing(CLAIMS, store, QUICK, SOURCE)
        running.run(tasks, store, here)
        expected = [store.results(c, QUICK, "digits") for c in CLAIMS]
    killed: list[int] = []

    def kill_a_worker(done: running.Done) -> None:
        if not killed:
            killed.append(worker())
            os.kill(killed[0], signal.SIGKILL)

    with Store(tmp_path / "there.sqlite") as store, executor_of(1, cluster) as executor:
        assert running.run(tasks, store, executor, told=kill_a_worker) == []
        assert [store.results(c, QUICK, "digits") for c in CLAIMS] == expected
    assert killed


def worker() -> int:
    """A process of Ray that measures a cell just now, or may be given one."""
    while True:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                said = path.read_bytes()
            except OSError:  # it has ended meanwhile
                continue
            if said.startswith((b"ray::_perform", b"ray::IDLE")):
                return int(path.parent.name)
        time.sleep(0.05)
