"""Options from the command line and from `pyproject.toml`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from normscope.config import Config, budget_of, bytes_of, merge, read
from normscope.errors import NormscopeError


@pytest.mark.parametrize(
    ("text", "share"), [("1%", 0.01), ("0.5 %", 0.005), ("0.02", 0.02), ("100%", 1.0), (0.01, 0.01)]
)
def test_budget(text, share):
    assert budget_of(text) == pytest.approx(share)


@pytest.mark.parametrize(
    "text", ["", "much", "1", "5", "0", "0%", "-1%", "nan", "inf%", "1%%", "nan%"]
)
def test_a_bad_budget(text):
    with pytest.raises(ValueError, match="such as 1% or"):
        budget_of(text)


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("64MB", 64_000_000),
        ("1.5 GiB", 3 << 29),
        ("0", 0),
        ("100k", 100_000),
        ("2mib", 2 << 20),
        ("7B", 7),
        (12, 12),
    ],
)
def test_bytes(text, amount):
    assert bytes_of(text) == amount


@pytest.mark.parametrize("text", ["", "MB", "-1MB", "1TB", "64 apples", "1e3", "1i"])
def test_bad_bytes(text):
    with pytest.raises(ValueError, match="such as 64MB"):
        bytes_of(text)


def test_the_nearest_table_wins(tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        '[tool.normscope]\nsteps = 5\nselect = ["NS4", "NS1,NS2"]\nfail-on = "error"\nbudget = "2%"\nrecord = "runs/a.nscope"'
    )
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "a" / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    config = read(inner)
    assert config == Config(
        steps=5,
        select=("NS4", "NS1", "NS2"),
        fail_on="error",
        budget=0.02,
        record=tmp_path / "runs/a.nscope",
    )
    assert merge(config, {"steps": "9"}, where="the command line").steps == 9


def test_no_file_means_defaults(tmp_path):
    assert read(tmp_path).steps is None


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("stepz = 5", r"knows no `stepz`\. Did you mean `steps`\?"),
        ("fail_on = 'error'", r"Did you mean `fail-on`\?"),
        ("steps = 0", "`steps` was given as `0`"),
        ("steps = true", "whole number"),
        ("budget = 3", "such as 1%"),
        ("select = [1]", "a word or a list of words"),
        ("format = 'jsn'", r"text, json, html, sarif or github was expected\. Did you mean `json`"),
        ("fail-on = 'always'", "error, warning or never was expected"),
        ("record = 3", "a file name was expected"),
        ("steps = ", "Cannot read"),
    ],
)
def test_a_mistake_in_the_table_is_told_in_one_line(tmp_path, table, said):
    (tmp_path / "pyproject.toml").write_text(f"[tool.normscope]\n{table}\n")
    with pytest.raises(NormscopeError, match=said) as error:
        read(tmp_path)
    assert "pyproject.toml" in str(error.value)
    assert "\n" not in str(error.value)


def test_every_option_of_run_is_a_key():
    from normscope.cli.app import RUN_OPTIONS
    from normscope.config import KEYS

    assert {o.removeprefix("--") for o in RUN_OPTIONS} == set(KEYS) - {"ignore-layers"}
    assert all(re.fullmatch("[a-z-]+", k) for k in KEYS)
    assert Path("x") == merge(Config(), {"record": "x"}, where="here").record
