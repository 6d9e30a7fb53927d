"""However the script ends, it ends as under Python alone, and the report follows."""

from __future__ import annotations

import sys

import pytest


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("falls off the end", "print('done')"),
        ("exit code", "import sys; sys.exit(3)"),
        ("exit text", "import sys; sys.exit('no data')"),
        ("exit none", "import sys; sys.exit()"),
        ("exception", "def f():\n    raise ValueError('bad')\nf()"),
        (
            "chain",
            "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise KeyError('x') from e",
        ),
        ("group", "raise ExceptionGroup('many', [ValueError(1), TypeError(2)])"),
        ("syntax error", "x = (\n"),
        (
            "excepthook",
            "import sys\nsys.excepthook = lambda t, v, tb: print('hook', t, v, tb.tb_lineno, tb.tb_next)\n1 / 0",
        ),
        (
            "failing excepthook",
            "import sys\ndef hook(*a): raise RuntimeError('hook')\nsys.excepthook = hook\n1 / 0",
        ),
        (
            "interrupt",
            "import atexit\natexit.register(print, 'bye')\nprint('x', end='')\nraise KeyboardInterrupt",
        ),
        ("os._exit", "import os\nprint('lost?', flush=True)\nos._exit(5)"),
        (
            "killed",
            "import os, signal\nprint('a', flush=True)\nos.kill(os.getpid(), signal.SIGKILL)",
        ),
        ("aborted", "import os\nos.abort()"),
        (
            "exit handlers",
            "import atexit, sys\natexit.register(print, 'bye')\natexit.register(int, 'x')\nsys.exit(4)",
        ),
        (
            "threads",
            "import threading, time\nthreading.Thread(target=lambda: (time.sleep(.2), print('thread'))).start()\nprint('main')",
        ),
        (
            "failing thread",
            "import threading\nthreading.Thread(target=lambda: 1 / 0, name='t').start()",
        ),
        ("warnings", "import warnings\nwarnings.warn('careful', stacklevel=3)"),
        ("deep recursion", "def f(n): return f(n + 1)\nf(0)"),
        ("closed stderr", "import sys\nsys.stdout.write('x')\nsys.stdout.close()"),
        (
            "forks",
            "import os, sys\npid = os.fork()\nif pid == 0: sys.exit(0)\nos.waitpid(pid, 0)\nsys.exit(6)",
        ),
    ],
)
def test_ends(desk, name, text):
    desk.write("train.py", text)
    desk.same("train.py")


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("pass", "exit 0"),
        ("import sys; sys.exit(3)", "exit 3"),
        ("import os; os._exit(4)", "exit 4"),
        ("raise KeyboardInterrupt", "signal 2"),
        ("import os; os.kill(os.getpid(), 9)", "signal 9"),
    ],
)
def test_the_recording_says_how_it_ended(desk, text, status):
    from normscope.record.store import load

    desk.write("train.py", text)
    desk.observed("train.py", "--lr", "0.1")
    recording = load(desk.folder / "train.nscope")
    assert recording.status == status
    assert (recording.target, recording.arguments) == ("train.py", ("--lr", "0.1"))
    assert recording.started > 1.7e9


@pytest.mark.parametrize("end", ["1 / 0", "import os; os.kill(os.getpid(), 9)"])
def test_the_report_follows_the_script_s_own_words(desk, end):
    desk.write("train.py", f"import sys\nprint('hello')\nprint('oh', file=sys.stderr)\n{end}")
    plain = desk.run(sys.executable, "train.py")
    ours = desk.observed("train.py")
    assert (ours.returncode, ours.stdout) == (plain.returncode, plain.stdout)
    assert ours.stderr.startswith(plain.stderr)
    assert ours.stderr[len(plain.stderr) :].startswith(b"Verdict")


def test_nothing_of_ours_goes_to_stdout(desk):
    desk.write("train.py", "")
    ended = desk.observed("--format", "json", "--output", "r.json", "--format", "text", "train.py")
    assert ended.stdout == b""
    assert b"Verdict" in ended.stderr
    assert (desk.folder / "r.json").read_bytes().startswith(b"{")


def test_a_report_follows_the_script_s_own_closed_stdout(desk):
    desk.write("train.py", "import os; os.chdir('/'); os.close(1)")
    ended = desk.observed("train.py")
    assert b"Verdict" in ended.stderr
    assert (desk.folder / "train.nscope").exists()


@pytest.mark.parametrize("streams", [">&- 2>&-", "2>/dev/full"])
def test_the_status_comes_through_where_nobody_can_read_the_report(desk, streams):
    desk.write(
        "train.py",
        "import sys\nopen('seen', 'a').write(f'{sys.stdout is None}')\nprint(1)\nsys.exit(7)",
    )
    seen = []
    for command in (
        sys.executable,
        f"{sys.executable} -m normscope run --format html --output r.html",
    ):
        ended = desk.run("sh", "-c", f"exec {command} train.py {streams}")
        assert ended.returncode == 7
        seen.append((desk.folder / "seen").read_text())
        (desk.folder / "seen").unlink()
    assert seen[0] == seen[1]
    assert (desk.folder / "r.html").exists()
