"""What the user wants to run: a script or a module, checked before anything is started."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

from normscope.errors import NormscopeError, did_you_mean


@dataclass(frozen=True, slots=True)
class Target:
    """`words` follow the interpreter's flags: `script.py args…` or `-m module args…`."""

    words: tuple[str, ...]

    @property
    def name(self) -> str:
        """As the user wrote it: `train.py` or `package.module`."""
        return self.words[1] if self.words[0] == "-m" else self.words[0]

    @property
    def arguments(self) -> tuple[str, ...]:
        return self.words[2:] if self.words[0] == "-m" else self.words[1:]

    @property
    def record(self) -> Path:
        """Where the recording goes when nothing else is said: `SCRIPT.nscope` in the current directory."""
        stem = self.name if self.words[0] == "-m" else Path(self.name).resolve().stem
        return Path(f"{stem}.nscope")


def target_of(words: Sequence[str]) -> Target:
    """Check that there is something to run. Raises NormscopeError when there is not."""
    match list(words):
        case []:
            raise NormscopeError(
                "No script was given. Write `normscope run train.py` or `normscope run -m package.module`."
            )
        case ["-m"]:
            raise NormscopeError("`-m` needs a module: `normscope run -m package.module`.")
        case ["-m", module, *_]:
            _check_module(module)
        case words:
            _check_script(words[0])
    return Target(tuple(words))


def _check_script(script: str) -> None:
    path = Path(script)
    if path.is_dir():
        if not (path / "__main__.py").is_file():
            raise NormscopeError(
                f"`{script}` is a directory without `__main__.py`. Give the script in it, as in `normscope run {path / 'train.py'}`."
            )
        return
    if not path.exists():
        near = did_you_mean(path.name, _siblings(path))
        raise NormscopeError(
            f"There is no script `{script}`.{near} Expected a Python file, or `-m package.module`."
        )
    if not os.access(path, os.R_OK):
        raise NormscopeError(f"The script `{script}` may not be read. Check its permissions.")


def _siblings(path: Path) -> list[str]:
    try:
        return [p.name for p in path.parent.iterdir() if p.suffix == ".py"]
    except OSError:
        return []


def _check_module(module: str) -> None:
    """Without importing anything: the packages on the way are searched, not run."""
    parts = module.split(".")
    if not all(p.isidentifier() for p in parts):
        raise NormscopeError(
            f"`{module}` is no module name. Write `-m package.module`, without `.py` and with dots for folders."
        )
    with _current_directory_first():
        spec = (
            importlib.util.find_spec(parts[0]) if parts[0] not in sys.builtin_module_names else None
        )
    for i in range(1, len(parts)):
        places = spec.submodule_search_locations if spec else None
        name = ".".join(parts[: i + 1])
        spec = PathFinder.find_spec(name, list(places)) if places else None
    if spec is None:
        raise NormscopeError(
            f"There is no module `{module}` on Python's path or in the current directory. "
            "Give a script file, or run from the folder that holds the module."
        )
    places = spec.submodule_search_locations
    if places is not None and PathFinder.find_spec(f"{module}.__main__", list(places)) is None:
        raise NormscopeError(
            f"`{module}` is a package without `__main__`, so Python cannot run it. Give one of its modules."
        )


@contextmanager
def _current_directory_first() -> Generator[None]:
    """As `python -m` searches."""
    before = list(sys.path)
    sys.path.insert(0, os.getcwd())
    try:
        yield
    finally:
        sys.path[:] = before
