"""Where a report goes: pairs of a format and a file, checked before the work, written after it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from normscope.config import Config, Format
from normscope.errors import NormscopeError

SUFFIXES: Mapping[str, Format] = {
    ".json": "json",
    ".html": "html",
    ".htm": "html",
    ".txt": "text",
    ".sarif": "sarif",
}
READ_THERE: tuple[Format, ...] = ("text", "github")


@dataclass(frozen=True, slots=True)
class Output:
    """One report; `path` None means the terminal."""

    format: Format
    path: Path | None


def outputs_of(config: Config, *, to_stdout: bool) -> tuple[Output, ...]:
    """Pair formats with files, in order. Text needs no file; the others only where `to_stdout` allows them there.

    A file without a format gets the one of its suffix. Raises NormscopeError for what does not pair up or cannot be written.
    """
    files = list(config.output)
    formats = list(config.format) or [_format_of(f) for f in files]
    if len(files) > len(formats):
        raise NormscopeError(
            f"{len(files)} files but {len(formats)} formats were given. Write `--format` once for each `--output`."
        )
    on_terminal = _on_terminal(formats, len(formats) - len(files), to_stdout=to_stdout)
    rest = iter(files)
    pairs = [Output(f, None if i in on_terminal else next(rest)) for i, f in enumerate(formats)]
    for pair in pairs:
        if pair.path is not None:
            check_writable(pair.path)
    return tuple(pairs)


def _on_terminal(formats: list[Format], count: int, *, to_stdout: bool) -> set[int]:
    """The places of the `count` formats that get no file: those that are meant to be read from there first."""
    able = [i for i, f in enumerate(formats) if f in READ_THERE]
    others = [i for i, f in enumerate(formats) if f not in READ_THERE]
    if to_stdout:
        able += others
    if len(able) < count:
        lacking = formats[others[-1]]
        raise NormscopeError(
            f"The format `{lacking}` needs a file: `--format {lacking} --output report.{lacking}`."
        )
    return set(able[:count])


def _format_of(file: Path) -> Format:
    try:
        return SUFFIXES[file.suffix.lower()]
    except KeyError:
        raise NormscopeError(
            f"Which format is `{file}`? Add `--format json`, `html`, `sarif` or `text`, or name it `{file.stem}.json`."
        ) from None


def check_writable(path: Path) -> None:
    """Raises NormscopeError when no file can be written there."""
    folder = path.parent
    if path.is_dir():
        problem = "it is a directory"
    elif not folder.is_dir():
        problem = f"there is no folder `{folder}`"
    elif not os.access(path if path.exists() else folder, os.W_OK):
        problem = "permission denied"
    else:
        return
    raise NormscopeError(f"Cannot write `{path}`: {problem}. Choose another file.")


def write(output: Output, data: bytes) -> None:
    """Raises NormscopeError when the file cannot be written."""
    if output.path is None:
        return
    try:
        output.path.write_bytes(data)
    except OSError as error:
        raise NormscopeError(f"Cannot write `{output.path}`: {error.strerror}.") from None
