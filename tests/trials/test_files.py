"""What runs write: kept before it is overwritten, moved into the run's folder, and everything as before after it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from normscope.trials.files import scan
from normscope.trials.files.tidying import tidy

GUARDED = """
import sys
from pathlib import Path
from normscope.trials.files.guard import Guard
def failed(reason):
    print(reason, file=sys.stderr); sys.stderr.flush()
    import os; os._exit(88)
guard = Guard(Path(sys.argv[1]) / "journal", [sys.argv[1], *sys.argv[3:]], failed)
guard.install()
exec(compile(Path(sys.argv[2]).read_text(), "script", "exec"), {"__name__": "__main__", "guard": guard})
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The user's folder, which is the current one."""
    here = tmp_path / "work"
    here.mkdir()
    (here / "sub").mkdir()
    for name in ("a.txt", "b.txt", "sub/c.txt"):
        (here / name).write_text(f"mine: {name}")
        os.utime(here / name, ns=(10**18, 10**18))
    monkeypatch.chdir(here)
    return here


def run(folder: Path, script: str, *spared: str) -> subprocess.CompletedProcess[str]:
    own = folder.parent / "run"
    own.mkdir(exist_ok=True)
    file = folder.parent / "script.txt"
    file.write_text(textwrap.dedent(script))
    return subprocess.run(
        [sys.executable, "-c", GUARDED, str(own), str(file), *spared],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def state(folder: Path) -> dict[str, object]:
    return {
        str(p.relative_to(folder)): (os.readlink(p) if p.is_symlink() else p.read_bytes() if p.is_file() else "folder", p.lstat().st_mtime_ns if p.is_file() and not p.is_symlink() else 0)
        for p in sorted(folder.rglob("*"))
    }  # fmt: skip


SCRIPTS = {
    "new": "open('n.txt', 'w').write('run')",
    "new in new folders": "import os; os.makedirs('x/y', exist_ok=True); open('x/y/n.txt', 'w').write('run')",
    "overwritten": "open('a.txt', 'w').write('run')",
    "appended": "open('a.txt', 'a').write('run')",
    "in place": "f = open('a.txt', 'r+b'); f.seek(2); f.write(b'run'); f.close()",
    "twice": "open('a.txt', 'w').write('one'); open('a.txt', 'w').write('two')",
    "os.open": "import os; os.write(os.open('a.txt', os.O_WRONLY | os.O_TRUNC), b'run')",
    "pathlib": "import pathlib; pathlib.Path('sub/c.txt').write_bytes(b'run')",
    "another current folder": "import os; os.chdir('sub'); open('c.txt', 'w').write('run'); open('../a.txt', 'a').write('x')",
    "bytes": "open(b'a.txt', 'wb').write(b'run')",
    "removed": "import os; os.remove('a.txt')",
    "renamed over": "import os; open('t', 'w').write('run'); os.replace('t', 'a.txt')",
    "renamed away": "import os; os.rename('a.txt', 'z.txt')",
    "folder renamed": "import os; os.rename('sub', 'bus'); open('bus/c.txt', 'a').write('run')",
    "tree removed": "import shutil; shutil.rmtree('sub')",
    "tree removed and made anew": "import shutil, os; shutil.rmtree('sub'); os.mkdir('sub'); open('sub/c.txt', 'w').write('run')",
    "moved": "import shutil; shutil.move('a.txt', 'sub')",
    "copied over": "import shutil; shutil.copy('a.txt', 'b.txt')",
    "truncated": "import os; os.truncate('a.txt', 2)",
    "linked": "import os; os.symlink('a.txt', 'l'); os.link('a.txt', 'h')",
    "through a link": "import os; os.symlink('a.txt', 'l'); open('l', 'w').write('run')",
    "database": "import sqlite3; d = sqlite3.connect('d.db'); d.execute('create table t (x)'); d.commit(); d.close()",
    "a fork": "import os, time\npid = os.fork()\nif not pid:\n    open('a.txt', 'w').write('child'); os._exit(0)\nos.waitpid(pid, 0); open('a.txt', 'a').write('run'); open('n', 'w').write('x')",
    "threads": "import threading\ndef w(): open('a.txt', 'a').write('run')\nts = [threading.Thread(target=w) for _ in range(8)]\n[t.start() for t in ts]; [t.join() for t in ts]",
    "gone again": "import os; open('tmp', 'w').write('run'); os.remove('tmp')",
    "an exception": "open('a.txt', 'w').write('run'); raise SystemExit(3)",
    "numpy": "import numpy; numpy.save('n.npy', numpy.zeros(3)); numpy.zeros(3).tofile('b.txt')",
}  # fmt: skip


@pytest.mark.parametrize("name", SCRIPTS)
def test_everything_is_as_before(folder, name):
    before = state(folder)
    ended = run(folder, SCRIPTS[name])
    assert ended.returncode in (0, 3), ended.stderr
    touched = tidy(folder.parent / "run")
    assert state(folder) == before
    assert touched or name == "gone again"
    assert not (folder.parent / "run" / "journal").exists()


def test_what_the_run_wrote_is_kept(folder):
    run(folder, "open('a.txt', 'w').write('run'); open('sub/n.txt', 'w').write('new')")
    touched = tidy(folder.parent / "run")
    assert [os.path.relpath(t) for t in touched] == ["a.txt", "sub/n.txt"]
    files = folder.parent / "run" / "files"
    assert (files / "a.txt").read_text() == "run"
    assert (files / "sub/n.txt").read_text() == "new"


def test_elsewhere_than_the_current_folder(folder, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("mine")
    run(folder, f"open({str(other)!r}, 'w').write('run')")
    tidy(folder.parent / "run")
    assert other.read_text() == "mine"
    kept = folder.parent / "run" / "files" / "elsewhere" / str(other)[1:]
    assert kept.read_text() == "run"


def test_a_file_of_several_names_keeps_them(folder):
    os.link("a.txt", "twin.txt")
    run(folder, "open('a.txt', 'w').write('run')")
    tidy(folder.parent / "run")
    assert Path("a.txt").read_text() == Path("twin.txt").read_text() == "mine: a.txt"
    assert os.path.samefile("a.txt", "twin.txt")


def test_permissions_are_as_before(folder):
    os.chmod("a.txt", 0o640)
    run(folder, "import os; os.remove('a.txt'); open('a.txt', 'w').write('run')")
    tidy(folder.parent / "run")
    assert Path("a.txt").stat().st_mode & 0o777 == 0o640


def test_a_killed_run_is_undone_as_well(folder):
    before = state(folder)
    ended = run(
        folder,
        "open('a.txt', 'w').write('run'); import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    )
    assert ended.returncode == -signal.SIGKILL
    tidy(folder.parent / "run")
    assert state(folder) == before


def test_tidying_that_was_broken_off_goes_on(folder, monkeypatch):
    before = state(folder)
    run(folder, "for n in ('a.txt', 'b.txt', 'n.txt', 'sub/c.txt'): open(n, 'w').write('run')")
    own = folder.parent / "run"
    from normscope.trials.files import tidying

    undo, done = tidying._undo, []

    def broken(entry, *rest):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(entry)
        return undo(entry, *rest)

    monkeypatch.setattr(tidying, "_undo", broken)
    with pytest.raises(KeyboardInterrupt):
        tidy(own)
    monkeypatch.setattr(tidying, "_undo", undo)
    assert state(folder) != before
    tidy(own)
    assert state(folder) == before
    assert all(
        (own / "files" / n).read_text() == "run" for n in ("a.txt", "b.txt", "n.txt", "sub/c.txt")
    )


def test_what_the_user_changed_after_a_crash_is_not_lost(folder):
    run(folder, "open('a.txt', 'w').write('run')")
    Path("a.txt").write_text("edited since")
    tidy(folder.parent / "run")
    assert Path("a.txt").read_text() == "mine: a.txt"
    assert (folder.parent / "run" / "files" / "a.txt").read_text() == "edited since"


@pytest.mark.parametrize(
    "script",
    [
        "open('a.txt').read()",
        "open('/dev/null', 'w').write('x')",
        "import tempfile; f = tempfile.NamedTemporaryFile('w', dir='.', delete=False); f.write('x'); f.close()",
        "import tempfile, os; d = tempfile.mkdtemp(dir='.'); open(os.path.join(d, 'x'), 'w').write('x')",
        "import os; os.makedirs('sub', exist_ok=True)",
        "open('sub/cache', 'w').write('x')",
    ],
)
def test_what_is_no_business_of_others(folder, script):
    run(folder, script, str(folder / "sub"))
    assert tidy(folder.parent / "run") == ()


def test_the_run_ends_before_a_file_that_cannot_be_kept(folder):
    full = folder.parent / "run" / "journal"
    full.parent.mkdir()
    full.write_text("no folder can be made here")
    ended = run(folder, "open('a.txt', 'w').write('run')")
    assert ended.returncode == 88
    assert "no copy could be kept of `a.txt`" in ended.stderr
    assert Path("a.txt").read_text() == "mine: a.txt"


def test_writers_that_are_not_pythons(folder):
    torch_save = """
        import torch
        guard.of_torch(torch)
        torch.save({"x": 1}, "a.txt")
        torch.save({"x": 1}, "n.pt")
    """
    ended = run(folder, torch_save)
    assert ended.returncode == 0, ended.stderr
    assert [os.path.relpath(t) for t in tidy(folder.parent / "run")] == ["a.txt", "n.pt"]
    assert Path("a.txt").read_text() == "mine: a.txt"


def test_the_scan_finds_what_other_programs_write(folder):
    before = scan.seen([str(folder)], [str(folder / "sub")])
    Path("sub/c.txt").write_text("spared")
    subprocess.run(["sh", "-c", "echo x > n.txt; echo x >> a.txt"], check=True)
    found = scan.changed(before, scan.seen([str(folder)], [str(folder / "sub")]))
    assert [os.path.basename(f) for f in found] == ["a.txt", "n.txt"]


OTHERS = """
    import json, os, random
    random.seed(0)
    seen = os.path.exists("best.txt")
    open("best.txt", "w").write("x")
    print(f"score={random.random():.6f} seen={seen}")
"""


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_no_run_reads_what_another_wrote(desk, jobs):
    desk.write(OTHERS)
    words = ("--arms", "group", "--seeds", "3", "--metric", r"score=([0-9.]+)", "--jobs", jobs)
    ended = desk.trial(*words, "--format", "json", "--output", "t.json", "train.py")
    assert ended.returncode == 0, ended.stderr
    outputs = [p.read_text() for p in desk.folder.glob("train.trial.files/*/stdout")]
    assert len(outputs) == 4  # the arm is not applicable, which one run tells
    assert all("seen=False" in o for o in outputs)
    notes = json.loads((desk.folder / "t.json").read_text())["notes"]
    assert any("one after the other" in n for n in notes) == (jobs == "2")


def test_unseen_writing_stops_the_trial_and_can_be_allowed(desk):
    desk.write(
        "import os, random; random.seed(0)\nos.system('echo x > by_shell.txt')\nprint('s=', random.random())\n"
    )
    words = ("--arms", "group", "--seeds", "1", "--metric", r"s= ([0-9.]+)")
    ended = desk.trial(*words, "train.py")
    assert ended.returncode == 2
    assert "by_shell.txt by a program or library that cannot be watched" in ended.stderr
    assert desk.trial(*words, "--shared", "by_shell.txt", "train.py").returncode == 0
