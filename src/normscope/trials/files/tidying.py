"""After a run: what it wrote is moved into the run's own folder, and everything is as it was before."""

from __future__ import annotations

import filecmp
import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path

from normscope.trials.files.journal import Entry, Journal

JOURNAL, FILES = "journal", "files"


def tidy(folder: Path) -> tuple[str, ...]:
    """Undo what the run of this folder did to others' files; the paths that it had changed or made.

    May be broken off at any point and called again. Nothing is lost in either case: what the run left at a path goes into `files` of
    the run's folder before the path is put back. Raises OSError where that is not possible; the journal then stays.
    """
    journal = Journal(folder / JOURNAL)
    if not journal.folder.is_dir():
        return ()
    found = _of_others([e for _, e in journal.entries()])
    for e in sorted((e for e in found if e.kind == "folder"), key=lambda e: len(e.path)):
        if not os.path.isdir(e.path):
            os.mkdir(e.path, e.mode)
    others = [e for e in found if e.kind in ("new", "file", "link")]
    touched = [e.path for e in others if _undo(e, folder, journal.folder)]
    made = sorted((e.path for e in found if e.kind == "new folder"), key=len, reverse=True)
    for path in made:
        with suppress(OSError):  # it holds something that is not the run's, or is gone
            os.rmdir(path)
    shutil.rmtree(journal.folder)
    return tuple(sorted(touched))


def _of_others(entries: list[Entry]) -> list[Entry]:
    """Without what lay in a folder that the run itself had made or renamed: it goes where the folder goes."""
    made = [e.path + os.sep for e in entries if e.kind in ("new", "new folder")]
    return [
        e
        for e in entries
        if e.kind in ("new", "new folder") or not any(e.path.startswith(m) for m in made)
    ]


def _undo(entry: Entry, folder: Path, journal: Path) -> bool:
    """Whether the run had changed or made it."""
    path = entry.path
    if entry.kind == "file" and _untouched(entry):
        return False
    exists = os.path.lexists(path)
    if entry.kind == "link":
        if os.path.islink(path) and os.readlink(path) == entry.target:
            return False
        if exists:
            _move(path, folder)
        os.symlink(entry.target, path)
        return True
    if entry.kind == "new":
        if exists:
            _move(path, folder)
        return exists
    copy = journal / entry.copy
    if exists and os.path.isfile(path) and filecmp.cmp(path, copy, shallow=False):
        os.utime(path, ns=(entry.mtime, entry.mtime))
        return False
    _put_back(entry, copy, folder, exists=exists)
    return True


def _untouched(entry: Entry) -> bool:
    try:
        now = os.lstat(entry.path)
    except OSError:
        return False
    return (now.st_size, now.st_mtime_ns, now.st_ino) == (entry.size, entry.mtime, entry.inode)


def _put_back(entry: Entry, copy: Path, folder: Path, *, exists: bool) -> None:
    """Into the very file where it is still there: other names and open readers of it go on seeing it."""
    path = entry.path
    same = exists and os.path.isfile(path) and os.lstat(path).st_ino == entry.inode
    if same:
        kept = _place(path, folder)
        shutil.copyfile(path, kept)
        shutil.copyfile(copy, path)
    else:
        if exists:
            _move(path, folder)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        part = f"{path}.normscope-part"
        shutil.copyfile(copy, part)
        os.replace(part, path)
    os.chmod(path, entry.mode)
    os.utime(path, ns=(entry.mtime, entry.mtime))


def _move(path: str, folder: Path) -> None:
    kept = _place(path, folder)
    if stat.S_ISDIR(os.lstat(path).st_mode):
        shutil.copytree(path, kept, symlinks=True, dirs_exist_ok=True)
        shutil.rmtree(path)
    else:
        shutil.move(path, kept)


def _place(path: str, folder: Path) -> str:
    """Where a run's file goes: by its path from the current folder, or from the root where it lies elsewhere."""
    here = os.path.realpath(os.getcwd())
    inside = path.startswith(here + os.sep)
    relative = os.path.relpath(path, here) if inside else os.path.join("elsewhere", path[1:])
    kept = folder / FILES / relative
    kept.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(kept) and not kept.is_dir():
        # From an attempt that was broken off: what is there now is at least as new, unless it was put back already.
        number = 1
        while os.path.lexists(f"{kept}.{number}"):
            number += 1
        return f"{kept}.{number}"
    return str(kept)
