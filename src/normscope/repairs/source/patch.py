"""Differences of files as unified diffs, and new contents put in a file's place at once."""

from __future__ import annotations

import difflib
import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path

from normscope.errors import NormscopeError

MISSING = "\\ No newline at end of file\n"


def diff(name: str, before: bytes, after: bytes, encoding: str) -> str:
    """A unified diff that `git apply` and `patch -p1` take. Line ends are part of the lines."""
    old, new = (
        re.findall(r"[^\n]*\n|[^\n]+", text.decode(encoding, "replace")) for text in (before, after)
    )
    name = name.lstrip("/\\")
    lines = difflib.unified_diff(old, new, f"a/{name}", f"b/{name}")
    return "".join(x if x.endswith("\n") else f"{x}\n{MISSING}" for x in lines)


def write_in_place(path: Path, content: bytes) -> None:
    """Replace a file in one step, its permissions kept; links are followed. Raises NormscopeError."""
    target = path.resolve()
    temporary = ""
    try:
        mode = target.stat().st_mode
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode & 0o7777)
        os.replace(temporary, target)
    except OSError as error:
        if temporary:
            with suppress(OSError):
                os.unlink(temporary)
        raise NormscopeError(f"Cannot write `{path}`: {error.strerror or error}.") from None
