"""`normscope --help` is light."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys

import pytest

HEAVY = {"torch", "keras", "numpy", "jinja2", "cyclopts", "rich", "msgspec", "sqlite3"}


def loaded_by(*words: str) -> tuple[str, set[str]]:
    code = (
        "import json, sys\nfrom normscope.cli import main\ncode = main()\n"
        "sys.stderr.write(json.dumps(sorted(sys.modules)))\nsys.exit(code)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True
    )
    return ended.stdout, set(json.loads(ended.stderr))


@pytest.mark.parametrize("words", [["--help"], ["-h"], [], ["--version"]])
def test_help_imports_nothing_heavy(words):
    out, modules = loaded_by(*words)
    assert out.startswith("normscope ")
    assert not modules & HEAVY


@pytest.mark.parametrize("command", ["run", "report", "compare"])
def test_help_of_a_command_imports_no_framework(command):
    out, modules = loaded_by(command, "--help")
    assert "--select" in out
    assert not modules & {"torch", "keras", "numpy", "jinja2"}


def test_the_overview_names_every_command():
    from normscope.cli import COMMANDS, commands, overview
    from normscope.cli.app import HOMES
    from normscope.cli.options import app

    homes = {m.name for m in pkgutil.iter_modules(commands.__path__)}
    assert {HOMES.get(c, c) for c in COMMANDS} == homes
    for home in homes:
        importlib.import_module(f"normscope.cli.commands.{home}")
    assert all(f"  {name} " in overview() for name in COMMANDS)
    assert set(COMMANDS) == {n for n in app if not n.startswith("-")}


def test_every_public_name_is_found():
    import normscope

    for name in set(normscope.__all__):
        assert getattr(normscope, name) is not None
    with pytest.raises(AttributeError, match="no attribute `nothing`"):
        normscope.nothing  # noqa: B018


def test_a_metric_outside_a_run_goes_nowhere():
    import normscope

    assert normscope.report_metric("accuracy", 0.5) is None
