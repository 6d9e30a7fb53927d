"""Formats and files pair up, and what cannot be written is told before the work."""

from __future__ import annotations

from pathlib import Path

import pytest

from normscope.cli.outputs import Output, outputs_of
from normscope.config import Config
from normscope.errors import NormscopeError


def paired(formats, files, *, to_stdout=False):
    return outputs_of(Config(format=tuple(formats), output=tuple(files)), to_stdout=to_stdout)


@pytest.fixture
def a(tmp_path):
    return tmp_path / "a.json"


@pytest.fixture
def b(tmp_path):
    return tmp_path / "b.html"


def test_pairs(a, b):
    assert paired([], []) == ()
    assert paired(["text"], []) == (Output("text", None),)
    assert paired(["json", "html"], [a, b]) == (Output("json", a), Output("html", b))
    assert paired(["json", "text", "html"], [a, b]) == (
        Output("json", a),
        Output("text", None),
        Output("html", b),
    )
    assert paired([], [a, b]) == (Output("json", a), Output("html", b))
    assert paired(["text"], [a]) == (Output("text", a),)
    assert paired(["json"], [], to_stdout=True) == (Output("json", None),)


@pytest.mark.parametrize(
    ("formats", "files", "said"),
    [
        (["json"], [], "The format `json` needs a file: `--format json --output report.json`"),
        (["text", "html"], [], "The format `html` needs a file"),
        (["json"], ["a.json", "b.html"], "2 files but 1 formats"),
        ([], ["report"], "Which format is `report`"),
        ([], ["none/x.json"], "Cannot write `none/x.json`: there is no folder `none`"),
        (["json"], ["/"], "it is a directory"),
    ],
)
def test_what_does_not_pair_is_told(formats, files, said):
    with pytest.raises(NormscopeError, match=said):
        paired(formats, [Path(f) for f in files])
