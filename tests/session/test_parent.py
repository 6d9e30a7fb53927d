"""The parent's own decisions."""

from __future__ import annotations

import pytest

from normscope.session.parent import Ended, interpreter_flags
from normscope.session.target import Target


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        ("python train.py", ""),
        ("python -m normscope run -u", ""),
        ("python -u -m normscope run", "-u"),
        ("python -uBm normscope", "-uB"),
        (
            "python -OO -X dev -Xutf8 -W error -Wignore -c code",
            "-OO -X dev -Xutf8 -W error -Wignore",
        ),
        ("python -bWerror x.py -v", "-bWerror"),
        ("python -qX dev x.py", "-qX dev"),
        ("python --check-hash-based-pycs always -P x.py", "--check-hash-based-pycs always -P"),
        ("python -u -", "-u"),
        ("python -u", "-u"),
    ],
)
def test_the_interpreter_s_own_options(command, flags):
    assert interpreter_flags(command.split()) == flags.split()


def test_how_it_ended_in_words():
    assert str(Ended(3)) == "exit 3"
    assert str(Ended(signal=9)) == "signal 9"


@pytest.mark.parametrize(
    ("words", "name", "arguments", "record"),
    [
        ("src/train.py --lr 1", "src/train.py", ("--lr", "1"), "train.nscope"),
        ("-m pkg.train -x", "pkg.train", ("-x",), "pkg.train.nscope"),
        ("train", "train", (), "train.nscope"),
    ],
)
def test_what_is_run(words, name, arguments, record):
    target = Target(tuple(words.split()))
    assert (target.name, target.arguments, str(target.record)) == (name, arguments, record)
