"""The demo's commands, run as a user would type them, in the demo's folder."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from normscope.errors import NormscopeError

_COMMAND = "import sys; from normscope.cli import main; sys.exit(main())"


def observed(console: Console, folder: Path, script: str, name: str) -> str:
    """Run `script` under observation into `NAME.nscope` and `NAME.html`; its standard output."""
    options = ["--record", f"{name}.nscope", "--format", "text", "--format", "html"]
    process = start(
        console,
        folder,
        ["run", *options, "--output", f"{name}.html", script],
        stdout=subprocess.PIPE,
    )
    lines: list[str] = []
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            console.file.write(line)
            console.file.flush()
    settle(process, allowed=(0,))
    return "".join(lines)


def compare(console: Console, folder: Path, before: str, after: str) -> None:
    process = start(console, folder, ["compare", f"{before}.nscope", f"{after}.nscope"])
    process.wait()
    settle(process, allowed=(0, 1))


def accuracy(output: str) -> float:
    """The last accuracy that the script printed, between 0 and 1."""
    return float(re.findall(r"test accuracy ([01]\.\d+)", output)[-1])


def start(
    console: Console, folder: Path, arguments: Sequence[str], stdout: int | None = None
) -> subprocess.Popen[str]:
    """Show the command as it would be typed, and start it."""
    console.print(Text(f"$ normscope {' '.join(arguments)}", style="cyan"), soft_wrap=True)
    console.file.flush()
    command = [sys.executable, "-c", _COMMAND, *arguments]
    return subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=stdout, text=True)


def settle(process: subprocess.Popen[str], *, allowed: tuple[int, ...]) -> None:
    """Raises NormscopeError when the command's exit status is not one of `allowed`."""
    if process.returncode not in allowed:
        raise NormscopeError(
            f"A command of the demo ended with status {process.returncode}, so that it cannot go on; "
            "the command's own message stands above."
        )
