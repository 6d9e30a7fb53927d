"""The line that a finding names: of the forward pass, else where the layer was built, else of the factory."""

from __future__ import annotations

import sys

import pytest

from normscope.checking import check_target
from normscope.checking.inputs import input_of

FILE = """
from functools import partial
import torch
from torch import nn

def alone():  # the factory
    return nn.BatchNorm1d(8, 0.8)

def chained():
    body = nn.Sequential(
        nn.Linear(8, 8),
        nn.BatchNorm1d(8, 0.8),  # the layer
    )
    return nn.Sequential(body, nn.Linear(8, 2))  # around it

class Net(nn.Module):
    def __init__(self, eps=0.8):
        super().__init__()
        self.norm = nn.BatchNorm1d(8, eps)  # the attribute

    def forward(self, x):
        return self.norm(x)[:, 0]  # the call

half = partial(Net, eps=0.5)
made = chained()

class Single(nn.BatchNorm1d):  # the class
    def __init__(self):
        super().__init__(8, 0.8)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "placed_nets.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("placed_nets", None)


def line(text):
    return next(i for i, x in enumerate(FILE.splitlines(), 1) if text in x)


def site(name, code, *specs):
    diagnosis = check_target(f"placed_nets.py:{name}", [input_of(s) for s in specs])
    found = next(f for f in diagnosis.findings if f.code == code)
    assert found.site is not None
    assert found.site.file.endswith("placed_nets.py")
    return found.site.line


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("alone", "# the factory"),
        ("chained", "body = nn.Sequential("),
        ("made", "body = nn.Sequential("),
        ("Net", "# the attribute"),
        ("half", "# the attribute"),
        ("Single", "# the class"),
    ],
)
@pytest.mark.parametrize("specs", [(), ("8,8",)])
def test_a_setting_is_found_where_the_layer_was_built(name, text, specs):
    assert site(name, "NS205", *specs) == line(text)


def test_a_graph_of_the_frameworks_modules_alone_has_the_lines_that_built_them():
    assert site("chained", "NS101", "8,8") == line("body = nn.Sequential(")


def test_a_line_of_the_forward_pass_comes_first():
    diagnosis = check_target("placed_nets.py:Net", [input_of("8,8")])
    norms = [n for g in diagnosis.recording.graphs for n, _ in g.norms()]
    assert {n.site.line for n in norms} == {line("# the call")}


def test_the_hook_is_gone_afterwards():
    from torch.nn.modules import module

    check_target("placed_nets.py:chained")
    assert not module._global_module_registration_hooks
