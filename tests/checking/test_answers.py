"""What each rule says of a model that was only looked at, through the command as a user calls it."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from torch import nn

from normscope.cli import main

FILE = """
import torch
from torch import nn
import torch.nn.functional as F

def plain(norm=lambda: nn.BatchNorm1d(16), start=lambda m: None, middle=nn.Identity):
    net = nn.Sequential(nn.Linear(8, 16, bias=False), norm(), nn.ReLU(), middle(), nn.Linear(16, 16, bias=False), norm(), nn.ReLU(), nn.Linear(16, 3))
    start(net)
    return net

def healthy(): return plain()

def drawn(net):
    torch.manual_seed(0)
    for p in net.parameters():
        nn.init.normal_(p, 0.0, 0.02)

def reinitialized(): return plain(start=drawn)
def second_place(): return plain(lambda: nn.BatchNorm1d(16, 0.8))
def no_eps(): return plain(lambda: nn.LayerNorm(16, eps=0.0))
def slow_half(): return plain(lambda: nn.BatchNorm1d(16, momentum=0.01)).bfloat16()
def half(): return plain().bfloat16()
def stacked(): return plain(lambda: nn.Sequential(nn.BatchNorm1d(16), nn.BatchNorm1d(16)))
def dropped(): return plain(middle=lambda: nn.Dropout(0.5))
def lightly_dropped(): return plain(middle=lambda: nn.Dropout(0.1))

class Siamese(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = plain()
    def forward(self, x):
        return self.one(x[:4]) - self.one(x[4:])

class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.w, self.u, self.norm = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False), nn.BatchNorm1d(8)
    def forward(self, x):
        h = torch.zeros_like(x)
        for _ in range(5):
            h = torch.tanh(self.norm(self.w(h) + self.u(x)))
        return h

class OneValue(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.GroupNorm(8, 8)
    def forward(self, x):
        return self.norm(x)

class AtTheEnd(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.last = nn.Linear(8, 3, bias=False), nn.BatchNorm1d(3)
    def forward(self, x):
        return self.last(self.body(x))

class Long(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(8, 8, bias=False)
        self.blocks = nn.ModuleList(nn.Linear(8, 8, bias=False) for _ in range(36))
        self.after = nn.ModuleList(nn.BatchNorm1d(8) for _ in range(36))
    def forward(self, x):
        x = self.first(x)
        for block, norm in zip(self.blocks, self.after):
            x = norm(x + F.relu(block(x)))
        return x
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "answered_nets.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("answered_nets", None)


def codes(capsys, *words):
    """Code and severity of all findings."""
    main(["check", *words, "--format", "json"])
    report = json.loads(capsys.readouterr().out)
    return {(f["code"], f["severity"]) for f in report["findings"]}


@pytest.mark.parametrize(
    ("factory", "expected"),
    [
        ("healthy", set()),
        ("lightly_dropped", set()),
        ("half", set()),
        ("reinitialized", {("NS204", "warning")}),
        ("second_place", {("NS205", "warning")}),
        ("no_eps", {("NS205", "warning")}),
        ("slow_half", {("NS507", "info")}),
        ("stacked", {("NS108", "info")}),
        ("dropped", {("NS102", "info")}),
        ("Siamese", {("NS107", "info")}),
        ("Recurrent", {("NS106", "info")}),
        ("OneValue", {("NS112", "error")}),
        ("AtTheEnd", {("NS109", "info")}),
        ("Long", {("NS103", "warning")}),
    ],
)
def test_with_an_input(factory, expected, capsys):
    dtype = ":bfloat16" if "half" in factory else ""
    found = codes(capsys, f"answered_nets.py:{factory}", "--input", f"8,8{dtype}")
    assert found - {("NS109", "info")} == expected - {("NS109", "info")}
    assert expected <= found


@pytest.mark.parametrize(
    ("factory", "expected"),
    [
        ("healthy", set()),
        ("reinitialized", {("NS204", "warning")}),
        ("second_place", {("NS205", "warning")}),
        ("slow_half", {("NS507", "info")}),
    ],
)
def test_without_an_input_settings_and_values_are_judged(factory, expected, capsys):
    assert codes(capsys, f"answered_nets.py:{factory}") == expected


def network():
    return nn.Sequential(
        nn.Linear(8, 16, bias=False), nn.BatchNorm1d(16), nn.ReLU(), nn.Identity(),
        nn.Linear(16, 16, bias=False), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3),
    )  # fmt: skip


def trained(model, *, scale=1.0, frozen=()):
    """A few steps on random data; `frozen` layers stay in evaluation mode."""
    torch.manual_seed(0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(60):
        model.train()
        for layer in frozen:
            layer.eval()
        x = torch.randn(16, 8) * scale
        loss = nn.functional.cross_entropy(model(x), torch.randint(3, (16,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def test_a_checkpoint_of_a_model_trained_with_a_frozen_layer(folder, capsys):
    model = network()
    torch.save(trained(model, frozen=[model[5]]).state_dict(), "frozen.pt")
    found = codes(capsys, "answered_nets.py:healthy", "--weights", "frozen.pt")
    assert found == {("NS404", "warning")}
    torch.save(trained(network()).state_dict(), "sound.pt")
    assert codes(capsys, "answered_nets.py:healthy", "--weights", "sound.pt") == set()


def test_a_checkpoint_of_a_model_trained_on_nothing(folder, capsys):
    model = network()
    model[1].momentum = model[5].momentum = (
        0.5  # the average forgets its start within the few steps
    )
    torch.save(trained(model, scale=1e-4).state_dict(), "nothing.pt")
    found = codes(capsys, "answered_nets.py:healthy", "--weights", "nothing.pt")
    assert ("NS502", "warning") in found
    assert {severity for _, severity in found} <= {"warning", "info"}
