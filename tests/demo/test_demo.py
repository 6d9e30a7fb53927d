"""The demo: bad input in one line, a repair of one line, and the whole of it."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import pytest

from normscope import demo
from normscope.demo import runs
from normscope.errors import NormscopeError


def test_the_repair_changes_one_line() -> None:
    lines = demo.patch().splitlines()[2:]
    assert [x[:1] for x in lines if x[:1] in "+-"] == ["-", "+"]
    assert "momentum=0.01" in next(x for x in lines if x.startswith("-"))
    assert "momentum=0.1)" in next(x for x in lines if x.startswith("+"))


def test_both_scripts_are_written_and_can_be_parsed(tmp_path: Path) -> None:
    folder = demo.prepare(tmp_path / "new" / "folder")
    texts = [(folder / n).read_text(encoding="utf-8") for n in ("train.py", "train_fixed.py")]
    assert texts[0] != texts[1]
    assert all(isinstance(ast.parse(text), ast.Module) for text in texts)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        NormscopeError, match=r"cannot write its scripts to `.*file`.*can be written"
    ):
        demo.main(tmp_path / "file")


def test_missing_libraries_are_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "sklearn" else found(name)
    )
    with pytest.raises(NormscopeError, match=r"sklearn cannot be imported.*normscope\[demo\]"):
        demo.main()


def test_the_accuracy_is_the_last_one_printed() -> None:
    assert runs.accuracy("epoch 1  test accuracy 0.5\nepoch 2  test accuracy 0.875\n") == 0.875


@pytest.mark.slow
def test_the_demo_proves_its_point(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code = demo.main(tmp_path)
    shown = capfd.readouterr()
    assert code == 0, shown.out + shown.err
    assert "failing (NS202) → healthy" in shown.out
    before, after = (float(x) for x in re.findall(r"([\d.]+)%", shown.out)[-2:])
    assert after - before >= 5
    assert {p.name for p in tmp_path.iterdir()} >= {
        "train.py",
        "train_fixed.py",
        "before.nscope",
        "after.nscope",
        "before.html",
        "after.html",
    }
    assert str(tmp_path / "before.html") in shown.out
