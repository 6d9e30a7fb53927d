"""Files that a run changed or made without the guard's notice: by programs that it started, or libraries that write by themselves."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

MOST = 20_000  # files; a larger folder is looked through so far

Seen = Mapping[str, tuple[int, int]]


def seen(folders: Sequence[str], spared: Sequence[str]) -> Seen:
    """Size and time of the files below the folders, without version control, environments and Python's caches."""
    left_out = {os.path.realpath(s) for s in spared}
    found: dict[str, tuple[int, int]] = {}
    for top in folders:
        if any(f"{top}{os.sep}".startswith(f"{s}{os.sep}") for s in left_out):
            continue
        for folder, inner, files in os.walk(top):
            inner[:] = [
                d
                for d in inner
                if d not in (".git", ".hg", "__pycache__")
                and (path := os.path.join(folder, d)) not in left_out
                and not os.path.exists(os.path.join(path, "pyvenv.cfg"))
            ]
            for file in files:
                path = os.path.join(folder, file)
                if path in left_out:
                    continue
                if len(found) >= MOST:
                    return found
                try:
                    known = os.lstat(path)
                except OSError:
                    continue  # gone meanwhile
                found[path] = (known.st_size, known.st_mtime_ns)
    return found


def changed(before: Seen, after: Seen) -> list[str]:
    """Files that are other or new."""
    return sorted(p for p, known in after.items() if before.get(p) != known)
