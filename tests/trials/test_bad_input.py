"""What cannot be tried is told in one line before anything runs; which words are ours and which the script's."""

from __future__ import annotations

import inspect

import pytest

from normscope.cli import app, main
from normscope.cli.arguments import split_run
from normscope.cli.commands import trial
from normscope.errors import NormscopeError


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("open('ran', 'w')")
    (tmp_path / "folder").mkdir()
    return tmp_path


M = "--metric a=(.)"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f"trial --arms group {M}", "No script was given"),
        (f"trial --arms group {M} trian.py", "Did you mean `train.py`?"),
        (f"trial --arms gruop {M} train.py", "Did you mean `group`?"),
        (f"trial {M} train.py", "A trial needs something to compare"),
        ("trial --arms group train.py", "A trial needs one metric, and none was given"),
        (f"trial --arms group {M} --metric-name a train.py", "several were given"),
        ("trial --arms group --metric acc train.py", "has no group"),
        ("trial --arms group --metric ([ train.py", "is no regular expression"),
        ("trial --arms group --metric-file results.json train.py", "a file and a key were expected"),
        (f"trial --arms group --seeds some {M} train.py", "a number of seeds"),
        (f"trial --arms group --seeds 0 {M} train.py", "must be at least 1"),
        (f"trial --arms group --jobs 0 {M} train.py", "from 1 on, or `auto`"),
        (f"trial --arms group --rerun layer {M} train.py", "has no such arm"),
        (f"trial --arms group --format sarif --output a.sarif {M} train.py", "choose text, json or html"),
        (f"trial --arms group --record none/t.nscope {M} train.py", "there is no folder `none`"),
        (f"trial --arms group --record folder {M} train.py", "it is a directory"),
        (f"trial --arms group --output none/t.json {M} train.py", "there is no folder `none`"),
        (f"trial --arms group --halving=yes {M} train.py", "`--halving` takes no value"),
        (f"trial --arm group {M} train.py", "Did you mean `--arms`?"),
        ("trial --arms", "needs a value"),
    ],
)  # fmt: skip
def test_one_line_and_nothing_ran(here, capsys, line, said):
    assert main(line.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1
    assert not (here / "ran").exists()


@pytest.mark.parametrize(
    ("line", "ours", "command"),
    [
        ("--arms group --halving train.py --lr 1", "--arms group --halving", "train.py --lr 1"),
        ("--lower-is-better -m pkg.train --arms x", "--lower-is-better", "-m pkg.train --arms x"),
        ("--seeds=3 train.py --halving", "--seeds=3", "train.py --halving"),
    ],
)
def test_split(line, ours, command):
    found = split_run(line.split(), app.TRIAL_OPTIONS, app.TRIAL_FLAGS, "trial")
    assert found == (ours.split(), command.split())


def test_an_unknown_option_names_the_command():
    with pytest.raises(NormscopeError, match="`normscope trial` has no option `--x`"):
        split_run(["--x", "train.py"], app.TRIAL_OPTIONS, app.TRIAL_FLAGS, "trial")


def test_the_split_knows_every_option():
    names = [n.rstrip("_") for n in inspect.signature(trial.trial).parameters if n != "command"]
    assert {f"--{n.replace('_', '-')}" for n in names} == {*app.TRIAL_OPTIONS, *app.TRIAL_FLAGS}
