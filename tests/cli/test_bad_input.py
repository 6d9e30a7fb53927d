"""Bad input: one clear line on stderr, status 2, the script not started, and never a traceback of ours."""

from __future__ import annotations

import sqlite3

import pytest

from normscope.cli import main
from normscope.record.store import Store


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("open('ran', 'w')")
    (tmp_path / "folder").mkdir()
    (tmp_path / "foreign.nscope").write_text("hello")
    (tmp_path / "empty.nscope").write_text("")
    sqlite3.connect(tmp_path / "other.nscope").execute("CREATE TABLE t (x)").connection.close()
    store = Store.create(tmp_path / "good.nscope")
    store.put_meta("status", "exit 0")
    store.close()
    (tmp_path / "broken.nscope").write_bytes((tmp_path / "good.nscope").read_bytes()[:5000])
    return tmp_path


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("run", "No script was given"),
        ("run trian.py", "There is no script `trian.py`. Did you mean `train.py`?"),
        ("run folder", "`folder` is a directory without `__main__.py`"),
        ("run -m", "`-m` needs a module"),
        ("run -m no_such_module", "There is no module `no_such_module`"),
        ("run -m json.nope", "There is no module `json.nope`"),
        ("run -m train.py", "There is no module `train.py`"),
        ("run -m json", "`json` is a package without `__main__`"),
        ("run -m a/b", "`a/b` is no module name"),
        ("run --budget much train.py", "`budget` was given as `much`"),
        ("run --budget 1 train.py", "write `1%` for percent"),
        ("run --steps none train.py", "a whole number of training steps"),
        ("run --keep-batches lots train.py", "such as 64MB"),
        ("run --fail-on always train.py", "error, warning or never was expected"),
        ("run --format yaml train.py", "text, json, html, sarif or github was expected"),
        ("run --format json train.py", "needs a file"),
        ("run --output none/r.json train.py", "there is no folder `none`"),
        ("run --record none/r.nscope train.py", "none/r.nscope"),
        ("run --record folder train.py", "folder"),
        ("run --record /proc/r.nscope train.py", "Cannot write the recording"),
        ("run --record train.py train.py", "is not a normscope recording"),
        ("run --select NS999 train.py", "No rule's code begins with `NS999`"),
        ("run --ignore XX train.py", "No rule's code begins with `XX`"),
        ("run --stepz 5 train.py", "Did you mean `--steps`?"),
        ("run --record", "needs a value"),
        ("report none.nscope", "There is no recording `none.nscope`"),
        ("report foreign.nscope", "`foreign.nscope` is not a"),
        ("report empty.nscope", "`empty.nscope` is not a"),
        ("report other.nscope", "`other.nscope` is not a"),
        ("report broken.nscope", "broken.nscope"),
        ("report folder", "folder"),
        ("report", "FILE"),
        ("report good.nscope --output none/r.json", "there is no folder `none`"),
        ("report good.nscope --select NS999", "No rule's code begins with"),
        ("report good.nscope --what", "--what"),
        ("compare good.nscope none.nscope", "There is no recording `none.nscope`"),
        ("compare good.nscope", "AFTER"),
        ("rules --format html", "html"),
        ("explain NS999", "There is no rule `NS999`"),
        ("explain redundant-bais", "Did you mean `redundant-bias`?"),
        ("rnu train.py", "Did you mean `run`?"),
    ],
)
def test_one_clear_line(here, capfd, line, said):
    assert main(line.split()) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("normscope: ")
    assert err.count("\n") == 1
    assert said in err
    assert not (here / "ran").exists()
