"""What is ours and what is the script's."""

from __future__ import annotations

import inspect

import pytest

from normscope.cli import app
from normscope.cli.arguments import split_run
from normscope.cli.commands import run
from normscope.errors import NormscopeError


@pytest.mark.parametrize(
    ("line", "ours", "command"),
    [
        ("train.py --steps 5", "", "train.py --steps 5"),
        ("--steps 5 train.py", "--steps 5", "train.py"),
        ("--steps=5 train.py --steps 6", "--steps=5", "train.py --steps 6"),
        ("--record a.py train.py", "--record a.py", "train.py"),
        ("--record -m train.py", "--record -m", "train.py"),
        ("-m pkg.train -m x --help", "", "-m pkg.train -m x --help"),
        ("-mpkg.train x", "", "-m pkg.train x"),
        (
            "--format json --output a --format html --output b t.py",
            "--format json --output a --format html --output b",
            "t.py",
        ),
        ("-- --odd.py --steps", "", "--odd.py --steps"),
        ("train.py -- x", "", "train.py -- x"),
        ("--steps 5 --help", "--help", ""),
        ("train.py --help", "", "train.py --help"),
        ("", "", ""),
    ],
)
def test_split(line, ours, command):
    assert split_run(line.split(), app.RUN_OPTIONS) == (ours.split(), command.split())


def test_an_unknown_option_is_refused_before_the_script():
    with pytest.raises(NormscopeError, match=r"no option `--stepz`\. Did you mean `--steps`\?"):
        split_run(["--stepz", "5", "train.py"], app.RUN_OPTIONS)
    with pytest.raises(NormscopeError, match="`--steps` needs a value"):
        split_run(["--steps"], app.RUN_OPTIONS)


def test_the_split_knows_every_option():
    names = [n.rstrip("_") for n in inspect.signature(run.run).parameters if n != "command"]
    assert tuple(f"--{n.replace('_', '-')}" for n in names) == app.RUN_OPTIONS
