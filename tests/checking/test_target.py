"""Finding and calling a factory: whatever the user's code does, one clear line or a model."""

from __future__ import annotations

import sys

import pytest

from normscope.checking.target import build, split
from normscope.errors import NormscopeError

FILE = """
import sys
from functools import partial
print("imported")
VALUE = 7
class Made:
    width = 3
    @classmethod
    def small(cls): return cls()
def factory(): print("called"); return VALUE
def with_default(width=4): return width
def needs(width, depth, *rest): return width
def leaves(): sys.exit(3)
def fails(): raise ValueError("two\\nlines")
tall = partial(with_default, width=9)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "made_here.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("made_here", None)


@pytest.mark.parametrize("place", ["made_here.py", "made_here", "./made_here.py"])
def test_a_factory_is_called_and_its_prints_stay_off_stdout(place, folder, capfd):
    assert build(f"{place}:factory") == 7
    out, err = capfd.readouterr()
    assert out == ""
    assert err.split() == ["imported", "called"]


@pytest.mark.parametrize(
    ("name", "value"), [("VALUE", 7), ("with_default", 4), ("tall", 9), ("Made.width", 3)]
)
def test_values_partials_and_dotted_names(name, value, folder):
    assert build(f"made_here.py:{name}") == value


def test_classes_are_factories_of_themselves(folder):
    assert type(build("made_here.py:Made")).__name__ == "Made"
    assert type(build("made_here.py:Made.small")).__name__ == "Made"


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("made_here.py", "names no factory"),
        (":factory", "names no factory"),
        ("made_here.py:", "names no factory"),
        ("made_hera.py:factory", "Did you mean `made_here.py`?"),
        ("nowhere/at_all.py:factory", "There is no file"),
        ("no_such_module:factory", "There is no module `no_such_module`"),
        ("not a module:factory", "neither a module nor a Python file"),
        ("made_here.py:factori", "Did you mean `factory`?"),
        ("made_here.py:Made.smal", "Did you mean `small`?"),
        ("made_here.py:needs", "needs arguments (width, depth)"),
        ("made_here.py:leaves", "called exit(3)"),
        ("made_here.py:fails", "raised ValueError: two lines"),
    ],
)
def test_one_clear_line(target, told, folder):
    with pytest.raises(NormscopeError) as error:
        build(target)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_an_error_is_told_with_its_line(folder):
    line = next(i for i, text in enumerate(FILE.splitlines(), 1) if "def fails" in text)
    with pytest.raises(NormscopeError, match=rf"made_here\.py:{line}\)"):
        build("made_here.py:fails")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import no_such_dependency", "No module named 'no_such_dependency'"),
        ("def broken(:", "SyntaxError"),
        ("raise SystemExit", "called exit(None)"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_files_that_cannot_be_imported(text, told, folder):
    (folder / "bad_file.py").write_text(text)
    try:
        with pytest.raises(NormscopeError) as error:
            build("bad_file.py:factory")
    finally:
        sys.modules.pop("bad_file", None)
    assert told in str(error.value)


def test_a_module_whose_own_import_is_missing_is_not_called_missing_itself(folder):
    (folder / "imports_nothing.py").write_text("import no_such_dependency")
    with pytest.raises(NormscopeError, match="No module named 'no_such_dependency'"):
        build("imports_nothing:factory")


def test_interrupting_is_not_an_error_of_the_factory(folder):
    (folder / "interrupted.py").write_text("def factory(): raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        build("interrupted.py:factory")


def test_drive_letters_and_colons_in_folders_belong_to_the_place():
    assert split("C:/models/net.py:make") == ("C:/models/net.py", "make")
