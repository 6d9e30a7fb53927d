"""Signals reach the script once, as under Python alone, and both processes end by them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from normscope.record.store import load

COUNTS = """
import os, signal, sys, time
got = []
for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
    signal.signal(s, lambda number, frame: got.append(signal.Signals(number).name))
print("ready", os.getpid(), flush=True)
while not got:
    time.sleep(0.01)
time.sleep(0.3)  # a second delivery would arrive now
print(*got, flush=True)
sys.exit(7)
"""
SLEEPS = "import time; print('ready', __import__('os').getpid(), flush=True); time.sleep(600)"
TERMINAL = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.executable, sys.argv[1:])"


def begin(desk, text, **options):
    desk.write("train.py", text)
    parent = desk.start(sys.executable, "-m", "normscope", "run", "train.py", **options)
    ready, pid = parent.stdout.readline().split()
    assert ready == b"ready"
    return parent, int(pid)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"])
def test_what_the_parent_gets_is_forwarded_once(desk, name):
    parent, _ = begin(desk, COUNTS)
    parent.send_signal(signal.Signals[name])
    out, err = parent.communicate()
    assert out.decode().split() == [name]
    assert parent.returncode == 7
    assert b"Verdict" in err


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGKILL"])
def test_a_killed_child_is_diagnosed_and_died_after(desk, name):
    parent, child = begin(desk, SLEEPS)
    os.kill(child, signal.Signals[name])
    _, err = parent.communicate()
    assert parent.returncode == -signal.Signals[name]
    assert err.startswith(b"Verdict")
    assert load(desk.folder / "train.nscope").status == f"signal {signal.Signals[name]:d}"


def test_terminating_the_parent_terminates_both(desk):
    parent, child = begin(desk, SLEEPS)
    parent.terminate()
    _, err = parent.communicate()
    assert parent.returncode == -signal.SIGTERM
    assert b"Verdict" in err
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_ctrl_c_at_a_terminal_arrives_once(desk):
    desk.write("train.py", COUNTS)
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "normscope", "run", "train.py"]
    process = subprocess.Popen(
        [sys.executable, "-c", TERMINAL, *command],
        cwd=desk.folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown = b""
    pressed = False
    while True:
        try:
            got = os.read(ours, 4096)
        except OSError:  # how Linux says that the other end is closed
            break
        if not got:
            break
        shown += got
        if not pressed and b"ready" in shown:
            os.write(ours, b"\x03")
            pressed = True
    os.close(ours)
    assert process.wait() == 7
    assert shown.count(b"SIGINT") == 1
    assert b"Verdict" in shown


def test_ctrl_c_without_a_handler_ends_as_under_python(desk):
    parent, _ = begin(
        desk, "import atexit\natexit.register(print, 'bye')\n" + SLEEPS, start_new_session=True
    )
    parent.send_signal(signal.SIGINT)
    out, err = parent.communicate()
    assert parent.returncode == -signal.SIGINT
    assert out == b"bye\n"
    said, _, report = err.partition(b"KeyboardInterrupt\n")
    assert said.startswith(b"Traceback")
    assert b"normscope" not in said
    assert report.startswith(b"Verdict")


def test_what_the_script_sends_does_not_come_back(desk):
    desk.write(
        "train.py",
        """
        import os, signal, time
        got = []
        signal.signal(signal.SIGUSR1, lambda *a: got.append(1))
        os.kill(os.getppid(), signal.SIGUSR1)
        time.sleep(0.3)
        print(len(got))
        """,
    )
    assert desk.observed("train.py").stdout == b"0\n"


def test_an_ignored_hangup_stays_ignored(desk):
    ignoring = "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); os.execv(sys.executable, sys.argv[1:])"
    desk.write(
        "train.py",
        "import os, signal; print(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN); os.kill(os.getppid(), signal.SIGHUP)",
    )
    command = [sys.executable, "-m", "normscope", "run", "train.py"]
    ended = desk.run(sys.executable, "-c", ignoring, *command)
    assert ended.returncode == 0
    assert ended.stdout == b"True\n"


def test_the_script_outlives_a_killed_parent(desk):
    desk.write("keras.py", "__version__ = '3.9'")
    parent, _ = begin(
        desk,
        "import keras, os, time\nfirst = os.getppid()\nprint('ready', os.getpid(), flush=True)\n"
        "while os.getppid() == first: time.sleep(0.01)\nprint('alone', flush=True)",
    )
    parent.kill()
    out, _ = parent.communicate()  # until the script, which holds the pipe, ends too
    assert out == b"alone\n"
    assert load(desk.folder / "train.nscope").status == "exit"
    report = desk.run(sys.executable, "-m", "normscope", "report", "train.nscope")
    assert b"Keras" in report.stdout
