"""A failing example on embedded data: diagnosis, repair, proof. `normscope demo`."""

from __future__ import annotations

import difflib
import importlib.util
import tempfile
from pathlib import Path

from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

from normscope import diagnosis
from normscope.demo.runs import accuracy, compare, observed
from normscope.errors import NormscopeError
from normscope.record import store

SCRIPT = Path(__file__).with_name("train_digits.py")
FAULT = "NS202"  # the running statistics move too slowly to arrive
BEFORE = "nn.BatchNorm2d(channels_out, momentum=0.01),  # 0.99 in Keras"
AFTER = "nn.BatchNorm2d(channels_out, momentum=0.1),"


def main(out: Path | None = None) -> int:
    """Run the example in `out` (default: a new temporary folder) and prove each step; about half a minute.

    Returns 0 when the fault was found, the repaired run is healthy and its accuracy is higher, else 1. Raises
    NormscopeError when PyTorch or scikit-learn is missing or `out` cannot be written.
    """
    require("torch", "sklearn")
    folder = prepare(out)
    console = Console(highlight=False)

    say(
        console,
        "1. The script as it came",
        "A small network on scikit-learn's digits, ported from Keras.",
    )
    faulty = observed(console, folder, "train.py", "before")

    say(
        console,
        "2. The repair",
        "One line. The weights, the data and the number of steps stay as they are.",
    )
    console.print(Syntax(patch(), "diff", background_color="default"))

    say(console, "3. The repaired script", "The same seed, so that nothing else differs.")
    repaired = observed(console, folder, "train_fixed.py", "after")

    say(console, "4. The proof", "The two recordings side by side.")
    compare(console, folder, "before", "after")

    first = diagnosis.diagnose(store.load(folder / "before.nscope")).verdict
    second = diagnosis.diagnose(store.load(folder / "after.nscope")).verdict
    was, now = accuracy(faulty), accuracy(repaired)
    proven = first.primary == FAULT and second.status == "healthy" and now > was

    say(console, "5. The result")
    console.print(f"test accuracy  {was:.1%} → {now:.1%}  ({100 * (now - was):+.1f} points)")
    console.print(f"verdict        {worded(first)} → {worded(second)}")
    console.print(Text(f"report         {folder / 'before.html'}"), soft_wrap=True)
    if not proven:
        console.print(
            "This is not what the demo is meant to show; please report it.", style="bold red"
        )
    return 0 if proven else 1


def require(*modules: str) -> None:
    missing = [m for m in modules if importlib.util.find_spec(m) is None]
    if missing:
        raise NormscopeError(
            f"The demo trains with PyTorch on scikit-learn's digits, but {' and '.join(missing)} cannot be imported. "
            "Install them with `pip install 'normscope[demo]'`."
        )


def prepare(out: Path | None) -> Path:
    """The folder with both scripts in it, absolute."""
    original = SCRIPT.read_text(encoding="utf-8")
    try:
        folder = (out or Path(tempfile.mkdtemp(prefix="normscope-demo-"))).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "train.py").write_text(original, encoding="utf-8")
        (folder / "train_fixed.py").write_text(original.replace(BEFORE, AFTER), encoding="utf-8")
    except OSError as error:
        raise NormscopeError(
            f"The demo cannot write its scripts to `{out}` ({error.strerror}). Name a folder that can be written."
        ) from None
    return folder


def patch() -> str:
    """The repair as a unified diff."""
    original = SCRIPT.read_text(encoding="utf-8")
    lines = difflib.unified_diff(
        original.splitlines(),
        original.replace(BEFORE, AFTER).splitlines(),
        "train.py",
        "train_fixed.py",
        lineterm="",
        n=1,
    )
    return "\n".join(lines)


def say(console: Console, title: str, text: str = "") -> None:
    console.print()
    console.rule(Text(title, style="bold"), align="left")
    if text:
        console.print(text)


def worded(verdict: diagnosis.Verdict) -> str:
    return f"{verdict.status} ({verdict.primary})" if verdict.primary else verdict.status
