"""However and whenever the script is killed, the parent still diagnoses what was recorded."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from harm.commands import NORMSCOPE
from normscope.record.store import load

SCRIPT = """
import os, sys
import torch
from torch import nn

model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
progress = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
step = 0
while True:
    loss = nn.functional.cross_entropy(model(torch.randn(16, 8)), torch.randint(3, (16,)))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    step += 1
    os.pwrite(progress, f"{os.getpid()} {step}     ".encode(), 0)
"""


@pytest.mark.parametrize("seed", range(3))
def test_a_kill_at_a_random_moment_leaves_a_recording_and_a_report(
    seed: int, tmp_path: Path
) -> None:
    (tmp_path / "train.py").write_text(SCRIPT)
    progress, record = tmp_path / "progress", tmp_path / "train.nscope"
    command = [*NORMSCOPE, "run", "--record", str(record), "train.py", str(progress)]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as parent:
        while parent.poll() is None and (not progress.exists() or not progress.stat().st_size):
            time.sleep(0.05)
        assert parent.poll() is None, parent.communicate()[1]
        time.sleep(random.Random(seed).uniform(0.0, 3.0))
        child, _ = map(int, progress.read_text().split())
        os.kill(child, signal.SIGKILL)
        out, err = parent.communicate()
    done = int(progress.read_text().split()[1])
    recording = load(record)
    assert parent.returncode == -signal.SIGKILL
    assert out == ""
    assert recording.status == "signal 9"
    assert 0 <= recording.steps <= done
    assert "Verdict" in err
    assert "Traceback" not in err
