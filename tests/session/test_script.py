"""A script under observation is the script that Python runs."""

from __future__ import annotations

import sys

import pytest


def test_it_sees_the_same_world(desk):
    desk.write(
        "train.py",
        """
        import os, sys
        print(sys.argv, sys.orig_argv, sys.path, sys.flags, sys.warnoptions)
        print(__name__, __file__, __spec__, __package__, __doc__, __builtins__, type(__loader__))
        print(sorted(k for k in globals()), __annotations__ if "__annotations__" in globals() else None)
        print(sys.modules["__main__"].__dict__ is globals(), "sitecustomize" in sys.modules)
        print({k: v for k, v in os.environ.items()}, sys.excepthook, sys.getrecursionlimit())
        import inspect, traceback
        def here(): ...
        print(inspect.getsource(here), inspect.stack()[-1].filename, traceback.format_stack())
        x: int = 3
        print(__annotations__)
        """,
    )
    assert b"--steps" in desk.same("train.py", "--steps", "5", "--", "--help").stdout


@pytest.mark.parametrize(
    "flags",
    [
        ("-u",),
        ("-O", "-B"),
        ("-X", "dev"),
        ("-Wignore", "-W", "default"),
        ("-bb", "-Xutf8"),
        ("-P",),
    ],
)
def test_the_interpreter_s_flags_are_handed_on(desk, flags):
    desk.write(
        "train.py",
        "import sys; print(sys.flags, sys._xoptions, sys.warnoptions, sys.orig_argv, sys.path)",
    )
    desk.same("train.py", flags=flags)


def test_pythonpath_is_as_without_us(desk):
    desk.write("lib/helper.py", "NAME = 'helper'")
    desk.write(
        "train.py", "import helper, os, sys; print(helper.NAME, os.environ['PYTHONPATH'], sys.path)"
    )
    desk.same("train.py", env={"PYTHONPATH": "lib"})
    desk.write("empty.py", "import os, sys; print(repr(os.environ['PYTHONPATH']), sys.path)")
    desk.same("empty.py", env={"PYTHONPATH": ""})


def test_the_user_s_own_sitecustomize_runs(desk):
    desk.write("lib/sitecustomize.py", "import builtins; builtins.customized = __file__")
    desk.write("train.py", "import sitecustomize; print(customized, sitecustomize.__file__)")
    assert b"lib" in desk.same("train.py", env={"PYTHONPATH": "lib"}).stdout


def test_a_file_named_like_the_standard_library_comes_first(desk):
    desk.write("json.py", "print('mine')")
    desk.write("train.py", "import json")
    assert desk.same("train.py").stdout == b"mine\n"


def test_a_module_by_name(desk):
    desk.write("pkg/__init__.py", "print('init', __name__)")
    desk.write("pkg/sub/__init__.py", "")
    desk.write(
        "pkg/sub/train.py",
        "import sys; print(sys.argv, __spec__.name, __package__, sys.path); 1 / 0",
    )
    desk.write("pkg/__main__.py", "import sys; print('main', sys.argv, __spec__.name, __name__)")
    desk.same("-m", "pkg.sub.train", "-m", "x", "--lr", "1")
    desk.same("-m", "pkg", "--help")


def test_a_folder_with_main(desk):
    desk.write("app/__main__.py", "import sys; print(sys.argv, sys.path[0], __file__)")
    desk.same("app", "x")


def test_argparse_and_the_main_guard(desk):
    desk.write(
        "train.py",
        """
        import argparse
        if __name__ == "__main__":
            p = argparse.ArgumentParser()
            p.add_argument("--steps", type=int)
            print(p.parse_args())
        """,
    )
    assert desk.same("train.py", "--steps", "5").returncode == 0
    assert desk.same("train.py", "--help").stdout.startswith(b"usage: train.py")
    assert desk.same("train.py", "--stepz").returncode == 2


def test_stdin_is_the_script_s(desk):
    desk.write("train.py", "import sys; print(input(), sys.stdin.read())")
    assert desk.same("train.py", input=b"a\nb\nc").stdout == b"a b\nc\n"


def test_pickles_of_main_and_worker_processes(desk):
    desk.write(
        "train.py",
        """
        import multiprocessing, pickle, sys
        class Net: ...
        def work(x): return type(x).__module__, __name__ if False else x.n, multiprocessing.current_process().name != "MainProcess"
        if __name__ == "__main__":
            for method in ("spawn", "fork"):
                n = Net(); n.n = method
                assert type(pickle.loads(pickle.dumps(n))) is Net
                with multiprocessing.get_context(method).Pool(1) as pool:
                    print(pool.map(work, [n]))
        """,
    )
    assert b"spawn" in desk.same("train.py").stdout


def test_its_children_are_as_without_us(desk):
    desk.write(
        "train.py",
        """
        import os, subprocess, sys
        print(subprocess.check_output([sys.executable, "-c", "import os, sys; print(dict(os.environ), sys.path, sys.meta_path)"])
              .decode().split(" object at")[0])
        """,
    )
    desk.same("train.py")


def test_nothing_is_imported_ahead_of_the_script(desk):
    desk.write("train.py", "import sys; print(*sorted(sys.modules))")
    plain = desk.run(sys.executable, "train.py").stdout.split()
    ours = desk.observed("train.py").stdout.split()
    extra = set(ours) - set(plain)
    assert {m for m in extra if not m.startswith(b"normscope")} == {b"__future__", b"atexit"}
