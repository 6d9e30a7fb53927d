"""A real training script with data loader workers, through both processes."""

from __future__ import annotations

import signal
import sys

import pytest

from normscope.record.store import load

TRAIN = """
import sys
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

if __name__ == "__main__":
    torch.manual_seed(0)
    x = torch.randn(64, 4)
    data = TensorDataset(x, (x[:, 0] > 0).long())
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for method in ("fork", "spawn"):
        loader = DataLoader(data, batch_size=16, shuffle=True, num_workers=1, multiprocessing_context=method)
        for a, b in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(a), b).backward()
            optimizer.step()
    print(net[1].running_mean.tolist(), torch.rand(1).item())
    ENDING
"""


def test_training_with_workers(desk):
    desk.write("train.py", TRAIN.replace("ENDING", "sys.exit(3)"))
    plain = desk.run(sys.executable, "train.py")
    ours = desk.observed("train.py")
    assert (ours.returncode, ours.stdout) == (plain.returncode, plain.stdout) == (3, plain.stdout)
    assert ours.stderr.startswith(plain.stderr)
    recording = load(desk.folder / "train.nscope")
    assert recording.status == "exit 3"
    assert recording.steps == 8
    assert not recording.events_of("observer-error")
    assert [m.norm_layers for m in recording.models.values()] == [1]


def test_an_exception_is_recorded(desk):
    desk.write(
        "train.py",
        TRAIN.replace("ENDING", "raise ValueError('no more data')").replace(
            '("fork", "spawn")', '("fork",)'
        ),
    )
    ours = desk.observed("train.py")
    assert ours.returncode == 1
    assert b"normscope" not in ours.stderr.partition(b"Verdict")[0]
    recording = load(desk.folder / "train.nscope")
    assert recording.status == "exception ValueError: no more data"
    [crash] = recording.events_of("crash")
    assert (crash.step, crash.detail) == (4, "ValueError: no more data")


FAILING = """
import os, signal, sys, threading
import torch
from torch import nn

def network():
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))

def in_a_forward():
    network()(torch.randn(6, 5))

def in_a_later_forward():
    net = network()
    net(torch.randn(6, 4))
    net(torch.randn(6, 5))

def in_a_norm():
    network()(torch.randn(1, 4))

def in_a_backward():
    y = network()(torch.randn(6, 4)).sum()
    y.backward()
    y.backward()

def in_a_function():
    nn.functional.batch_norm(torch.randn(6, 4), None, None)

def in_what_led_to_it():
    try:
        in_a_forward()
    except RuntimeError as error:
        raise KeyError(1) from error

for fail in (in_a_forward, in_a_later_forward, in_a_norm, in_a_backward, in_a_function, in_what_led_to_it):
    try:
        fail()
    except Exception:
        sys.excepthook(*sys.exc_info())
thread = threading.Thread(target=in_a_later_forward, name="t")
thread.start()
thread.join()
os.kill(os.getpid(), signal.SIGINT)
"""


def test_tracebacks_and_ctrl_c_are_as_without_us(desk):
    desk.write("train.py", FAILING)
    plain = desk.same("train.py")
    assert plain.stderr.count(b"\nRuntimeError") == 6
    assert plain.returncode == -signal.SIGINT


@pytest.mark.parametrize(
    "first", ["from normscope import watch", "from normscope.nn import BatchRenorm"]
)
def test_a_script_that_imports_normscope_before_torch_is_observed(desk, first):
    desk.write(
        "train.py",
        f"""
{first}
import torch
net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 2))
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for _ in range(5):
    optimizer.zero_grad()
    net(torch.randn(16, 4)).square().sum().backward()
    optimizer.step()
""",
    )
    assert desk.observed("train.py").returncode == 0
    recording = load(desk.folder / "train.nscope")
    assert not recording.events_of("observer-error")
    assert recording.steps == 5
