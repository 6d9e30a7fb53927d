"""The example of docs/recalibration.md runs, and its command and links exist."""

import re
from pathlib import Path

from normscope.cli import COMMANDS
from normscope.concepts.recalibration import COMMAND
from normscope.repairs.recalibration import drop_in
from normscope.repairs.table import REPAIRS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "recalibration.md"


def test_the_example_runs(capsys):
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(code, str(PAGE), "exec"), {})
    assert "population statistics of 1 batch norm" in capsys.readouterr().out


def test_the_command_is_the_one_that_rules_propose():
    assert COMMAND in PAGE.read_text(encoding="utf-8")
    _, command, repair, *_ = COMMAND.split()
    assert command in COMMANDS
    assert repair in REPAIRS


def test_links_and_names_lead_somewhere():
    text = PAGE.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (PAGE.parent / link).exists(), link
    assert {"update_bn", "update_bn_stats"} <= set(vars(drop_in))
