"""The page of the repairs: its example runs, and its table names what there is."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from normscope.repairs.table import REPAIRS

PAGE = (Path(__file__).parents[2] / "docs" / "repairs.md").read_text(encoding="utf-8")


def test_the_example_runs(capsys):
    torch.manual_seed(0)
    [code] = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    exec(compile(code, "repairs.md", "exec"), {})
    assert "exchanged 2 batch norms for group normalization" in capsys.readouterr().out


def test_every_repair_of_a_model_is_in_the_table():
    named = set(re.findall(r"`(-?[a-z-]+)`", PAGE))
    for name in REPAIRS:
        if name in ("recalibrate", "advice"):  # they have pages of their own
            continue
        assert name in named or name.removeprefix("convert") in named, name
