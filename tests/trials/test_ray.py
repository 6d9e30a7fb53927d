"""A real Ray cluster on this machine: a worker is killed in the middle of a run, and nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from normscope.errors import NormscopeError

SCRIPT = """
    import os, pathlib, random, time
    random.seed(0)
    value = random.random()
    pathlib.Path(f"begun-{value:.6f}-{os.getpid()}").touch()
    gate = pathlib.Path("gate")
    while not gate.exists():
        time.sleep(0.05)
    print(f"score={value:.6f}")
"""


def test_without_ray_the_line_says_what_to_install(monkeypatch):
    from normscope.trials.executors import ray

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(NormscopeError, match=r"pip install 'normscope\[ray\]'"):
        ray.RayExecutor("auto", perform=lambda job, started: None)


@pytest.fixture
def cluster():
    """Two processors and no more, so that the cluster does not ask for what the machine has not."""
    pytest.importorskip("ray")
    from importlib import import_module

    ray = [sys.executable, "-m", "ray.scripts.scripts"]
    address = "127.0.0.1:26379"
    words = ["start", "--head", "--port=26379", "--num-cpus=2", "--include-dashboard=false"]
    subprocess.run([*ray, *words], check=True, capture_output=True)
    yield address
    import_module("ray").shutdown()
    subprocess.run([*ray, "stop", "--force"], check=True, capture_output=True)


@pytest.mark.slow
def test_a_worker_that_is_killed_loses_nothing(desk, cluster):
    desk.write(SCRIPT)
    process = desk.start(
        "--arms", "group", "--seeds", "3", "--metric", "score=([0-9.]+)", "--ray", cluster,
        "--format", "json", "--output", "t.json", "--shared", ".", "train.py",
    )  # fmt: skip
    (desk.folder / "gate").touch()
    while len(list(desk.folder.glob("begun-*"))) < 1:
        time.sleep(0.1)
        assert process.poll() is None, process.communicate()
    (desk.folder / "gate").unlink()
    begun = set()
    while len(begun) < 3:  # the first run, and two at once
        begun = set(desk.folder.glob("begun-*"))
        time.sleep(0.1)
        assert process.poll() is None, process.communicate()
    running = [int(p.name.rpartition("-")[2]) for p in begun]
    running = [pid for pid in running if Path(f"/proc/{pid}").exists()]
    victim = parent_of(running[0])
    os.kill(victim, signal.SIGKILL)
    while len(set(desk.folder.glob("begun-*"))) < 4:  # Ray begins it anew
        time.sleep(0.1)
        assert process.poll() is None, process.communicate()
    (desk.folder / "gate").touch()
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stdout + stderr
    arms = {a["name"]: a for a in json.loads((desk.folder / "t.json").read_text())["arms"]}
    runs = arms["as-is"]["runs"]
    assert [r["status"] for r in runs] == ["finished"] * 3
    assert len({r["metric"] for r in runs}) == 3


def parent_of(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(x.split()[1]) for x in status.splitlines() if x.startswith("PPid:"))
