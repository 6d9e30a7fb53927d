"""Finding what the user wants to have checked: `package.module:factory` or `path/to/file.py:factory`."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Generator
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from normscope.checking.advice import advice_on
from normscope.errors import NormscopeError, did_you_mean

EXPECTED = "Write `normscope check package.module:factory` or `normscope check file.py:factory`."


def build(target: str) -> Any:
    """What the factory of that name returns, or the value itself when it is none. Raises NormscopeError when either fails."""
    return made_by(find(target), target)


def find(target: str) -> Any:
    """The factory, or value, of that name. Raises NormscopeError when there is none, or when importing its module fails."""
    place, name = split(target)
    return attribute(module_of(place), name, place)


def made_by(found: Any, target: str) -> Any:
    """What a factory returns, or the value itself when it is none.

    What user code prints goes to standard error. Raises NormscopeError when calling it raises, exits or needs
    arguments.
    """
    if not _is_factory(found):
        return found
    if lacking := _required(found):
        raise NormscopeError(
            f"`{target}` needs arguments ({', '.join(lacking)}), but a factory that can be called without any was expected. "
            "Wrap it in a function that passes them."
        )
    with user_code(f"calling `{target}`"):
        return found()


def split(target: str) -> tuple[str, str]:
    """The module or file, and the name in it. Raises NormscopeError without either."""
    place, colon, name = target.rpartition(":")
    if not colon or not place or not name:
        raise NormscopeError(f"`{target}` names no factory. {EXPECTED}")
    return place, name


def module_of(place: str) -> ModuleType:
    """The imported module, a file's as Python itself would see it from the file's folder."""
    if place.endswith(".py") or "/" in place:
        return _from_file(Path(place))
    if not all(part.isidentifier() for part in place.split(".")):
        raise NormscopeError(f"`{place}` is neither a module nor a Python file. {EXPECTED}")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    with user_code(f"importing `{place}`"):
        try:
            return importlib.import_module(place)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{place}.".startswith(f"{error.name}."):
                raise  # a module that theirs imports is missing
    raise NormscopeError(
        f"There is no module `{place}` on Python's path or in this folder. Give a file, as in `model.py:factory`."
    )


def names_keras(target: str) -> bool:
    """Whether the source of the target's module says that it uses Keras, so that this can be imported first."""
    place, _ = split(target)
    if place.endswith(".py") or "/" in place:
        file: Path | None = Path(place)
    else:
        try:
            spec = importlib.util.find_spec(place) if "." not in place else None
        except (ImportError, ValueError):
            spec = None
        file = Path(spec.origin) if spec is not None and spec.origin else None
    if "keras" in sys.modules:
        return True
    if file is None or not file.is_file():
        return False
    return (
        re.search(rb"^\s*(import|from)\s+(tensorflow\.)?keras\b", file.read_bytes(), re.MULTILINE)
        is not None
    )


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        siblings = [p.name for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise NormscopeError(
            f"There is no file `{path}`.{did_you_mean(path.name, siblings)} {EXPECTED}"
        )
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise NormscopeError(f"`{path}` is no Python file. {EXPECTED}")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))
    sys.modules.setdefault(path.stem, module)  # dataclasses and pickles look there
    with user_code(f"importing `{path}`"):
        spec.loader.exec_module(module)
    return module


def attribute(module: ModuleType, name: str, place: str) -> Any:
    """The value of a dotted name in the module. Raises NormscopeError with the nearest known name."""
    value: Any = module
    for part in name.split("."):
        if not hasattr(value, part):
            known = [n for n in dir(value) if not n.startswith("_")]
            raise NormscopeError(f"`{place}` has no `{name}`.{did_you_mean(part, known)}")
        value = getattr(value, part)
    return value


def _is_factory(value: Any) -> bool:
    """Functions and classes are called; a model can be called as well, but it is one already."""
    return inspect.isroutine(value) or inspect.isclass(value) or hasattr(value, "func")


def _required(factory: Callable[..., Any]) -> list[str]:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # built-in callables may have none to show
        return []
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in variadic]


@contextlib.contextmanager
def user_code(doing: str) -> Generator[None]:
    """Run code of the user: its prints go to standard error, its end by an exception or an exit becomes one line."""
    try:
        with prints_to_stderr(), _exits_as_exceptions():
            yield
    except NormscopeError:
        raise
    except SystemExit as end:
        raise NormscopeError(
            f"{doing[0].upper()}{doing[1:]} called exit({end.code!r}): a module that can be imported, and a factory that "
            "returns, were expected. Guard the script by `if __name__ == '__main__':`."
        ) from None
    except Exception as error:
        told = " ".join(str(error).split()) or "no message"
        raise NormscopeError(
            f"{doing[0].upper()}{doing[1:]} raised {type(error).__name__}: {shortened(told)}{_line(error)}.{advice_on(told)}"
        ) from error


@contextlib.contextmanager
def prints_to_stderr() -> Generator[None]:
    """Also what code below Python and child processes print: a report on standard output is to hold nothing else."""
    sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # there is no standard output
        kept = None
    try:
        if kept is not None:
            os.dup2(2, 1)
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        if kept is not None:
            os.dup2(kept, 1)
            os.close(kept)


@contextlib.contextmanager
def _exits_as_exceptions() -> Generator[None]:
    """`os._exit` would end the check without an answer, with status 0 for one; processes that the code forks may use it."""
    leave, us = os._exit, os.getpid()

    def left(status: int) -> NoReturn:
        if os.getpid() != us:
            leave(status)
        raise SystemExit(status)

    os._exit = left
    try:
        yield
    finally:
        os._exit = leave


def _line(error: BaseException) -> str:
    """Where in code outside of normscope it was raised last."""
    own = str(Path(__file__).parents[1])
    frames = [
        f
        for f in traceback.extract_tb(error.__traceback__)
        if not f.filename.startswith((own, "<"))
    ]
    users = [
        f for f in frames if "site-packages" not in f.filename and "importlib" not in f.filename
    ]
    last = users[-1:]
    return f" ({last[0].filename}:{last[0].lineno})" if last else ""


def shortened(text: str, limit: int = 300) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
